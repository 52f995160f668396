"""What is said for a class: names, tables, files, one phrase or several."""

from __future__ import annotations

import json

import pytest
import yaml

from synesthete.config import Recipe
from synesthete.data.labelled import ImageSpeechPairs
from synesthete.data.pictures import DIGITS
from synesthete.data.speech.clips import PHRASES, phrases_by_class, phrases_for, read_words, spoken_name
from synesthete.types import InputError
from tiny import debug_recipe


def test_the_ten_phrases_are_found_by_id_and_by_name():
    assert len({phrase.wnid for phrase in PHRASES}) == len({phrase.name for phrase in PHRASES}) == 10
    assert all(phrase.name.split()[-1] in phrase.text for phrase in PHRASES)
    names = ("n01443537", "tiger shark", "003_tiger_shark", "dog")
    assert phrases_for(names) == {
        "n01443537": ("A goldfish, bright orange fish",),
        "tiger shark": ("A tiger shark with dark stripes",),
        "003_tiger_shark": ("A tiger shark with dark stripes",),
    }


@pytest.mark.parametrize(
    ("class_name", "said"),
    [("seven", "seven"), ("great_white_shark", "great white shark"), ("000_tench", "tench"), ("7", "7"), ("_", "_")],
)
def test_a_class_is_called_by_its_name(class_name, said):
    assert spoken_name(class_name) == said


def test_one_phrase_or_several():
    words = {"cat": "a cat, asleep", "dog": ("a dog", "one dog"), "cow": "of no class"}
    assert phrases_by_class(("dog", "cat", "red_fox"), words) == {
        "dog": ("a dog", "one dog"),
        "cat": ("a cat, asleep",),
        "red_fox": ("red fox",),
    }
    data = ImageSpeechPairs((), ("tench", "cat"), words="imagenet-10")
    assert data.words == {"tench": ("A tench, a freshwater fish",), "cat": ("cat",)}


def test_they_are_set_in_a_recipe_and_kept_with_it():
    recipe = debug_recipe("data.words={zero: nought, one: [one, number one]}")
    again = Recipe.from_dict(yaml.safe_load(recipe.to_yaml()))
    for words in (recipe.data().words, again.data().words):
        assert (words["zero"], words["one"], words["two"]) == (("nought",), ("one", "number one"), ("two",))


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_a_file_is_read_once_and_its_words_kept(tmp_path, write):
    path = tmp_path / "phrases.yaml"
    path.write_text(write({"zero": "nought", "one": ["one", "number one"]}))
    recipe = debug_recipe(f"data.words={path}")
    path.unlink()
    assert str(path) not in recipe.to_yaml()
    assert recipe.data().words["one"] == ("one", "number one")
    assert list(recipe.data().words) == list(DIGITS)


def test_names_that_yaml_reads_as_something_else(tmp_path):
    (tmp_path / "words.yaml").write_text("7: 7\n8: [8, eight]\n")
    assert read_words(str(tmp_path / "words.yaml")) == {"7": "7", "8": ["8", "eight"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("[a, b]", "no table of classes in it"), ("a: b: c", "not YAML")],
)
def test_a_file_that_is_no_table_is_one_line(tmp_path, content, said):
    path = tmp_path / "words.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        debug_recipe(f"data.words={path}")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_engine_is_set_by_its_name():
    pytest.importorskip("piper", reason="the piper extra is not installed")
    recipe = debug_recipe("data.engine=piper", "data.engine.noise=0.3")
    assert recipe.data().engine.noise == 0.3
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())).data().engine.noise == 0.3
    again = debug_recipe("data.engine=piper", "data.engine=espeak")  # in place of one that is there
    assert again.data.engine.target.__name__ == "Espeak"
    with pytest.raises(InputError, match="no speech engine 'festival'; give espeak or piper"):
        debug_recipe("data.engine=festival")
