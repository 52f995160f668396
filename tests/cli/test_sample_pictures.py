"""`synesthete sample` of models that make pictures: what is written, what it tells of itself, and what is refused."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from conditioning.text_towers import write_text_tower
from synesthete.conditioning.clip_text import ClipText
from synesthete.conditioning.labels import Unconditional
from synesthete.conditioning.learned_encoders import Words
from synesthete.config import build
from synesthete.pipeline import Pipeline
from synesthete.seeding import sample_generators
from synesthete.tasks.images.sampling import find_subjects
from synesthete.tasks.results import PictureResult
from synesthete.tasks.sampling import file_safe
from tiny_pictures import labels_in_turn, tiny_pipeline, tiny_recipe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(command):
    """`run(model, ...)` -> (exit code, standard output, standard error) of `synesthete sample`."""
    return partial(command, "sample")


@pytest.fixture(scope="module")
def model(tmp_path_factory, cache) -> Path:
    folder = tmp_path_factory.mktemp("models") / "colours"
    tiny_pipeline().save(folder)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory, cache) -> Path:
    """A model of the same classes that reads text."""
    folder = tmp_path_factory.mktemp("models") / "reader"
    tower = write_text_tower(tmp_path_factory.mktemp("clip") / "clip")
    recipe = tiny_recipe()
    recipe.conditioner = build(
        ClipText, model=str(tower), class_names=recipe.data.class_names, width=recipe.conditioner.width, num_tokens=20
    )
    tiny_pipeline(recipe).save(folder)
    return folder


@pytest.fixture(scope="module")
def speller(tmp_path_factory, cache) -> Path:
    """A model that reads the few words it learned, and has guidance folded in."""
    folder = tmp_path_factory.mktemp("models") / "speller"
    recipe = tiny_recipe()
    width = recipe.conditioner.width
    recipe.conditioner = build(Words, captions=("a red square", "green circle"), width=width, num_heads=2)
    pipeline = tiny_pipeline(recipe)
    pipeline.config.card["folded_guidance"] = 2.0
    pipeline.save(folder)
    return folder


@pytest.fixture(scope="module")
def untold(tmp_path_factory, cache) -> Path:
    """A model that is told nothing."""
    folder = tmp_path_factory.mktemp("models") / "untold"
    recipe = tiny_recipe()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    tiny_pipeline(recipe).save(folder)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def same(one: Path, other: Path) -> bool:
    """The same picture."""
    return np.array_equal(pixels(one), pixels(other))


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    [line] = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in line


def test_a_label_by_name_and_one_by_number(run, model, tmp_path):
    out = tmp_path / "drawn"
    code, printed, err = run(model, "--label", "2", "--label", "red", "--num", 3, "--out", out, "--json")
    assert code == 0
    values = json.loads(printed.splitlines()[-1])
    expected = [f"{label}_{i:03d}.png" for label in ("2", "red") for i in range(3)]
    assert [str(out / name) for name in expected] == values["written"]
    assert values["contact_sheet"] == str(out / "contact_sheet.png")
    assert names_in(out) == sorted([*expected, "contact_sheet.png"])
    assert "pictures: 6/6" in err
    picture = Image.open(out / "2_001.png")
    assert (picture.size, picture.mode) == ((8, 8), "RGB")
    sheet = Image.open(out / "contact_sheet.png")
    assert sheet.width > 3 * 64
    assert 2 * 64 < sheet.height < 3 * 64  # a row a label


def test_a_picture_tells_how_it_was_made(run, model, tmp_path):
    run(model, "--label", "green", "--num", 2, "--seed", 5, "--sampler", "ddim", "--steps", 3, "--set", "eta=0.5",
        "--guidance-scale", 2, "--out", tmp_path)  # fmt: skip
    told = Image.open(tmp_path / "green_001.png").text
    expected = {"label": "green", "number": "1", "seed": "5", "model": "colours", "sampler": "ddim", "eta": "0.5"}
    expected |= {"num_inference_steps": "3", "guidance_scale": "2.0"}
    assert expected.items() <= told.items()


def test_all_and_lists_name_every_class_once(run, model, tmp_path):
    run(model, "--label", "all", "--num", 1, "--out", tmp_path / "all")
    assert names_in(tmp_path / "all") == sorted(
        [f"{n}_000.png" for n in ("red", "green", "blue")] + ["contact_sheet.png"]
    )
    run(model, "--label", "1,green, blue", "--num", 1, "--out", tmp_path / "some")
    assert names_in(tmp_path / "some") == ["1_000.png", "blue_000.png", "contact_sheet.png"]
    assert same(tmp_path / "all" / "green_000.png", tmp_path / "some" / "1_000.png")


def test_a_picture_is_the_same_whatever_else_is_asked_for(run, model, tmp_path):
    run(model, "--label", "green", "--num", 2, "--out", tmp_path / "few")
    run(model, "--label", "all", "--num", 34, "--out", tmp_path / "many")  # more than a batch
    for i in range(2):
        assert same(tmp_path / "few" / f"green_00{i}.png", tmp_path / "many" / f"green_00{i}.png")
    few = [pixels(tmp_path / "many" / f"{name}.png") for name in ("green_000", "green_001", "red_000")]
    assert all(np.abs(one - few[0]).mean() > 2 for one in few[1:])  # other noise, other class
    run(model, "--label", "green", "--num", 1, "--seed", 1, "--out", tmp_path / "other")
    assert not same(tmp_path / "few" / "green_000.png", tmp_path / "other" / "green_000.png")


def test_a_label_with_many_pictures_folds_its_row(run, model, tmp_path):
    run(model, "--label", "red", "--num", 17, "--out", tmp_path, "--steps", 1)
    sheet = Image.open(tmp_path / "contact_sheet.png")
    assert sheet.height > 2 * 64
    assert sheet.width < 17 * 68


def test_settings_reach_the_sampler(run, model, tmp_path):
    def picture(name: str, *options: object) -> Path:
        assert run(model, "--label", "red", "--num", 1, "--out", tmp_path / name, *options)[0] == 0
        return tmp_path / name / "red_000.png"

    plain = picture("plain", "--sampler", "ddim", "--steps", 4)
    assert same(plain, picture("again", "--sampler", "ddim", "--steps", 4))
    for changed in (("--sampler", "unipc", "--steps", 4), ("--sampler", "ddim", "--steps", 2)):
        assert not same(plain, picture("-".join(map(str, changed)), *changed))
    for changed in ("timestep_spacing=leading", "eta=1", "guidance_scale=0"):
        assert not same(plain, picture(changed, "--sampler", "ddim", "--steps", 4, "--set", changed))


def test_guidance_0_forgets_the_label(run, model, tmp_path):
    """The noise of each label is its own, so the pictures are; but what is told no longer changes them."""
    pipeline = Pipeline.load(str(model))
    labels = labels_in_turn(3)
    first = pipeline(labels, generators=sample_generators(0, 3), guidance_scale=0.0).x_0
    other = pipeline(labels.flip(0), generators=sample_generators(0, 3), guidance_scale=0.0).x_0
    assert first.equal(other)
    assert not first.allclose(pipeline(labels, generators=sample_generators(0, 3), guidance_scale=1.0).x_0)


def test_nothing_is_overwritten_unasked(run, model, tmp_path):
    options = (model, "--label", "red", "--num", 1, "--out", tmp_path)
    run(*options)
    before = (tmp_path / "red_000.png").read_bytes()
    refused(run(*options, "--seed", 5), "red_000.png", "there already", "--overwrite")
    assert (tmp_path / "red_000.png").read_bytes() == before
    assert run(*options, "--seed", 5, "--overwrite")[0] == 0
    assert (tmp_path / "red_000.png").read_bytes() != before


def test_the_same_command_goes_on_after_an_interruption(run, model, tmp_path, monkeypatch):
    options = (model, "--label", "red", "--num", 3, "--out")
    run(*options, tmp_path / "whole")
    save = PictureResult.save

    def interrupted(self, path):
        if path.name == "red_001.png":
            raise KeyboardInterrupt
        return save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(PictureResult, "save", interrupted)
        assert run(*options, tmp_path / "out")[0] != 0
    refused(run(*options, tmp_path / "out", "--seed", 5), "red_000.png", "there already", "--overwrite")
    assert run(*options, tmp_path / "out")[0] == 0
    found = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out")]
    assert found[0] == found[1]


def test_words_of_ones_own_where_the_model_reads_text(run, reader, tmp_path):
    prompts = ("a photo of a red", "a cat/of a dog")
    words = [option for prompt in prompts for option in ("--prompt", prompt)]
    code, printed, _ = run(reader, *words, "--label", "red", "--num", 2, "--out", tmp_path, "--json")
    assert code == 0
    assert len(json.loads(printed.splitlines()[-1])["written"]) == 6
    stems = ("a_photo_of_a_red", "a_cat_of_a_dog", "red")
    assert {f"{stem}_00{i}.png" for stem in stems for i in range(2)} <= set(names_in(tmp_path))
    assert Image.open(tmp_path / "a_cat_of_a_dog_001.png").text["prompt"] == prompts[1]


def test_a_prompt_is_encoded_as_the_class_that_it_spells(reader):
    pipeline = Pipeline.load(str(reader))
    label, prompt, other = find_subjects(pipeline, "reader", ["red"], ["a photo of a red", "a cat"])
    assert label.raw.allclose(prompt.raw, atol=1e-5)
    assert not label.raw.allclose(other.raw, atol=1e-2)


def test_a_model_that_is_told_nothing(run, untold, tmp_path):
    assert run(untold, "--num", 2, "--out", tmp_path)[0] == 0
    assert names_in(tmp_path) == ["contact_sheet.png", "sample_000.png", "sample_001.png"]
    refused(run(untold, "--guidance-scale", 3, "--out", tmp_path / "a"), "guidance_scale 3.0", "told nothing")
    refused(run(untold, "--label", "red", "--out", tmp_path / "a"), "told nothing", "leave out --label")
    refused(run(untold, "picture.png", "--out", tmp_path / "a"), "picture.png")


@pytest.mark.parametrize(
    ("prompt", "stem", "said"),
    [
        ("", "sample", ""),  # the null
        ("\N{LARGE RED SQUARE}", "sample", "'large'"),
        ("a gren square", "a_gren_square", "'gren' (near: green)"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}red square", "red_square", ""),
    ],
)
def test_a_prompt_is_read_as_far_as_its_words_are_known(run, speller, prompt, stem, said, tmp_path, caplog):
    code, printed, err = run(speller, "--prompt", prompt, "--num", 1, "--out", tmp_path, "--json")
    assert code == 0 and said in caplog.text
    assert [path.rsplit("/")[-1] for path in json.loads(printed.splitlines()[-1])["written"]] == [f"{stem}_000.png"]
    assert Image.open(tmp_path / f"{stem}_000.png").text["prompt"] == prompt
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in printed + err


@pytest.mark.parametrize(
    "options",
    [
        ("--prompt", "word " * 300),
        ("--prompt", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"),  # right to left
        ("--prompt", "\N{ROCKET}"),
        ("--prompt", "\U0001f9ff" * 40),
        ("--prompt", "red", "--guidance-scale", "3"),  # it has 2 folded in
    ],
)
def test_a_prompt_of_nothing_known_or_too_much_is_one_short_line(run, speller, options, tmp_path):
    result = run(speller, *options, "--out", tmp_path / "out")
    refused(result)
    assert len(result[2]) < 250
    assert not (tmp_path / "out").exists()


def test_300_words_are_more_than_clip_reads(run, reader, tmp_path):
    result = run(reader, "--prompt", "word " * 300, "--out", tmp_path / "out")
    refused(result, "20")
    assert len(result[2]) < 400


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--label", "3"), ("label '3'", "0 to 2", "red")),
        (("--label", "gren"), ("label 'gren'", "green", "0 to 2")),
        (("--label", "-1"), ("label '-1'", "0 to 2")),
        (("--prompt", "a red square"), ("reads labels, not text", "--label", "0 to 2")),
        ((), ("--label", "0 to 2", "red")),
        (("--label", "red", "--sampler", "dimm"), ("sampler 'dimm'", "choose from ddpm, ddim")),
        (("--label", "red", "--sampler", "flow-euler"), ("'flow-euler'", "cannot walk", "ddim")),
        (("--label", "red", "--sampler", "euler", "--set", "eta=0.5"), ("eta 0.5", "ddim")),
        (("--label", "red", "--set", "eta=2"), ("eta", "2")),
        (("--label", "red", "--set", "timestep_spacing=trialing"), ("timestep_spacing", "trailing")),
        (("--label", "red", "--steps", "5000"), ("num_inference_steps 5000", "at most")),
    ],
)
def test_bad_input_is_one_line(run, model, options, words, tmp_path):
    refused(run(model, *options, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_pictures_to_a_model_of_labels(run, model, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "red.png")
    result = run(model, tmp_path / "red.png", "--out", tmp_path / "out")
    refused(result, "draws", "red.png", "synesthete draw --help")


@pytest.mark.parametrize("options", [("--label", "7"), ("--prompt", "seven"), ("--num", "3")])
def test_labels_to_a_model_that_speaks(run, options, tmp_path):
    refused(run("image-to-speech-digits", *options, "--out", tmp_path / "out"), "speaks", options[0])


def test_a_model_that_speaks_wants_pictures(run, tmp_path):
    refused(run("image-to-speech-digits", "--out", tmp_path / "out"), "speaks", "give it pictures")


def test_stems_are_safe_and_no_two_alike():
    assert file_safe(["a/b", "a b", "A_b", "..", "déjà vu", "x" * 99, "7"]) == [
        "a_b", "a_b-2", "A_b-3", "sample", "déjà_vu", "x" * 60, "7"
    ]  # fmt: skip
