"""A finished model taught one's own classes: a folder of pictures a class, and the folders' names are the words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.data.files import read_manifest
from synesthete.objectives import Parts
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training.assembly import make_pipeline

RECIPE = "image-to-speech-photos-debug"


@pytest.fixture
def run(command):
    def call(*arguments: object) -> dict:
        code, printed, said = command(*arguments, "--json")
        assert not code, said
        return json.loads(printed.splitlines()[-1])

    return call


def test_a_model_learns_ones_own_classes_from_a_folder(run, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    for number, name in enumerate(("red_apple", "moss")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(12):
            values = np.random.default_rng(100 * number + i).integers(0, 256, (40, 30 + i, 3), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "mine" / name / f"{i}.jpg")
    (tmp_path / "mine" / "moss" / "broken.jpg").write_bytes(b"\xff\xd8\xff cut")
    recipe = find_recipe(RECIPE)
    parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
    make_pipeline(recipe, parts, recipe.data.class_names).save(tmp_path / "model")

    own = ("--set", f"data.folder={tmp_path / 'mine'}", "--set", "stages.align.num_steps=1")
    found = run(
        "train", RECIPE, *own, "--set", "stages.denoise.num_steps=1", "--from", tmp_path / "model",
        "--out", tmp_path / "run", "--no-classifier",
    )  # fmt: skip
    assert (found["num_skipped"], found["skipped"]) == (1, [str(tmp_path / "mine" / "moss" / "broken.jpg")])
    assert Pipeline.load(str(tmp_path / "run")).class_names == ["moss", "red_apple"]

    prepared = run("prepare", RECIPE, *own)
    assert (prepared["train_pictures"] + prepared["test_pictures"], prepared["num_skipped"]) == (24, 1)
    said = {(entry.label, entry.text) for entry in read_manifest(Path(prepared["folder"]) / "corpus")}
    assert said == {("moss", "moss"), ("red_apple", "red apple")}


def test_parts_of_no_model_are_refused(command, tmp_path):
    code, _, said = command("train", RECIPE, "--parts", "denoiser", "--out", tmp_path / "run")
    assert code == 2
    assert "--parts without --from" in said
    assert not (tmp_path / "run").exists()
