"""The examples run as they are, and are short enough to be read at once."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from synesthete.evaluation.classifiers.image import ImageClassifier

FOLDER = Path(__file__).parents[1] / "examples"
SHORT = ("speak", "own_pictures", "dots", "with_diffusers", "compare_runs")

pytestmark = pytest.mark.usefixtures("undrawn", "own_additions")


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def example(name):
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("name", SHORT)
def test_an_example_is_short(name):
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_speaking_from_python(capsys):
    example("speak").main()
    said = capsys.readouterr().out
    assert said.count("'seven'") == 2  # in either voice
    assert len(list(Path("out/speak").rglob("*.png"))) == 3


def test_training_on_ones_own_pictures(capsys):
    example("own_pictures").main()
    said = capsys.readouterr().out
    assert "a class becomes a picture: 40 pictures of 2 classes (greenish 20, reddish 20)" in said
    assert len(list(Path("out/own_pictures/drawn").glob("*.png"))) >= 4


def test_a_fifth_system_in_a_file(command):
    dots = example("dots")
    shown = dots.Dots(8).pictures("train")
    assert [sum(map(bool, image.tobytes())) / 9 for image in shown.images[::8]] == [1, 2, 3, 4]
    small = ("stages.denoise.num_steps=2", "denoiser.channels=[8]", "denoiser.attention_levels=[0]", "data.limit=20")
    changes = [word for change in small for word in ("--set", change)]
    code, _, said = command("train", "counted-dots", "--out", "run", "--no-watch", "--no-classifier", *changes)
    assert code == 0, said
    code, out, said = command(
        "draw", "run", "--label", "three", "--num", "1", "--steps", "2", "--out", "drawn", "--json"
    )
    assert code == 0, said
    assert json.loads(out)
    assert Image.open("drawn/three_000.png").size[0] % 16 == 0


def test_ours_in_diffusers_and_diffusers_in_ours():
    found = example("with_diffusers")
    by_hand, by_ours = found.ours_in_diffusers(), found.by_our_loop()
    assert by_hand.shape == found.diffusers_in_ours().shape
    assert (by_hand.float() - by_ours.float()).abs().max() <= 1  # of 255


def test_two_runs_are_evaluated_and_compared(capsys, monkeypatch):
    quick = replace(ImageClassifier.training_settings, fewest_steps=10, num_passes=1)
    monkeypatch.setattr(ImageClassifier, "training_settings", quick)
    example("compare_runs").main()
    said = capsys.readouterr().out
    assert "ceiling" in said
    assert "chance 0.1" in said
    assert Path("out/compare_runs/comparison/report.html").is_file()
