"""Short names of classes: complete, right, imported when asked for; one's own registered; paths of before refused."""

from __future__ import annotations

import json
from hashlib import blake2b

import pytest
import torch
import yaml
from safetensors.torch import load_file

import synesthete
from synesthete import hub
from synesthete.config import Build, Recipe, build, class_name, document, find_class
from synesthete.denoisers.unet import UNet
from synesthete.nn.part import Part
from synesthete.pipeline import Pipeline
from synesthete.recipes import RECIPES, find_recipe
from synesthete.types import InputError

# blake2b of the sorted digests of all tensors: what a model weighs, whatever its parts and files are called.
WEIGHTS = {
    "audio-to-image-digits": "42d7e3d63acd9a3e",
    "image-to-speech-digits": "c5c6fc89e7ebe0e8",
    "image-to-speech-photos": "8f86f3128a7cd2a4",
    "image-to-speech-phrases": "0f610cc790b3a1bd",
    "image-to-speech-voices": "cd3aced7472cead4",
    "images-digits": "2332635f7a1dc0be",
    "music-compose": "51f9158b0dfe1a7e",
    "music-notes": "5b418e423867dc93",
    "music-score": "a3940550e3137305",
}


@pytest.fixture
def registered(monkeypatch):
    """Classes registered in a test are forgotten after it."""
    monkeypatch.setattr(document, "_registered", {})
    return document.register_class


class OwnCodec(Part):
    """A codec from outside the package."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.config.size, self.config.size


def classes_of(value) -> set[type]:
    """Every class that a recipe names, at any depth."""
    if isinstance(value, Build):
        return {value.target}.union(*map(classes_of, value.arguments.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(classes_of, value))
    return set().union(*map(classes_of, vars(value).values())) if hasattr(value, "__dataclass_fields__") else set()


def test_every_name_of_the_table_is_the_class_of_its_module():
    for name in document.MODULES:
        assert class_name(find_class(name)) == name
        assert getattr(synesthete, name) is find_class(name)


def test_every_class_of_a_recipe_has_a_name():
    used = set().union(*(classes_of(make()) for make in RECIPES.values()))
    assert len(used) > 30
    for cls in used:
        assert find_class(class_name(cls)) is cls


def test_a_class_of_ones_own_goes_into_yaml_and_back(registered):
    recipe = RECIPES["images-digits"]()
    recipe.codec = build(OwnCodec, size=8)
    with pytest.raises(InputError, match=r"register_class\(OwnCodec\)"):
        recipe.to_yaml()
    assert registered(OwnCodec) is OwnCodec
    assert registered(OwnCodec) is OwnCodec  # a module that is imported again
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize("name", ["UNet", "no name", ""])
def test_a_name_is_given_once(registered, name):
    with pytest.raises(InputError):
        registered(OwnCodec, name or "two words")
    assert find_class("UNet") is UNet


def test_a_pipeline_of_ones_own_part_is_saved_and_loaded(registered, tmp_path):
    registered(OwnCodec, "Mine")
    pipeline = Pipeline.load("images-digits")
    pipeline.codec = OwnCodec(8)
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / hub.MODEL_INDEX).read_text())["codec"] == ["synesthete", "Mine"]
    assert isinstance(Pipeline.load(str(tmp_path)).codec, OwnCodec)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weights_of_a_shipped_model_are_those_it_was_trained_to(name):
    folder = hub.find_model(name)
    digests = []
    for file in folder.glob("*/*.safetensors"):
        for value in load_file(file).values():
            digests.append(blake2b(value.numpy().tobytes(), digest_size=8).hexdigest())
    assert blake2b("".join(sorted(digests)).encode(), digest_size=8).hexdigest() == WEIGHTS[name]
    assert Recipe.load(folder / "recipe.yaml").task == Pipeline.load(name).config.card["task"]


def test_what_an_earlier_version_wrote_is_refused_in_one_line(tmp_path):
    values = find_recipe("images-digits-debug").to_dict()
    path = tmp_path / "recipe.yaml"
    for change in ({"codec": {"class": "synesthete.codecs.pixels.PixelCodec"}}, {"task": None}):
        path.write_text(yaml.safe_dump({k: v for k, v in (values | change).items() if v is not None}))
        with pytest.raises(InputError, match=r"earlier version.*train again|task missing.*synesthete show") as caught:
            find_recipe(str(tmp_path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    Pipeline.load("images-digits").save_pretrained(tmp_path / "model")
    index = tmp_path / "model" / hub.MODEL_INDEX
    index.write_text(index.read_text().replace('"synesthete",', '"synesthete.codecs.pixels",', 1))
    with pytest.raises(InputError, match=r"codec.*earlier version.*train again") as caught:
        Pipeline.load(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)
