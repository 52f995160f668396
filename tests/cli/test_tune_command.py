"""`synesthete tune` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from synesthete import hub
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.evaluation.search import space, tune, tuning
from tiny_pictures import tiny_pipeline, tiny_recipe

FEW = ("--num", 24, "--minutes", 0.01, "--seconds-per-picture", 30, "--features", "classifier", "--score", "kid")


@pytest.fixture
def run(command):
    return partial(command, "tune")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    recipe = tiny_recipe()
    tiny_pipeline(recipe).save(folder)
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    return folder


def test_a_model_is_tuned(run, model, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "NUM_STEPS", (2, 3))
    monkeypatch.setattr(tune, "ETA_STEPS", (2, 3))
    monkeypatch.setattr(tune, "SCALES", (1.0, 6.0))
    monkeypatch.setattr(tuning, "FEWEST_SETTINGS", 6)
    monkeypatch.setattr(tuning, "NUM_REPEATS", 2)
    monkeypatch.setattr(tune, "NUM_REPEATS", 2)
    monkeypatch.setattr(tune, "FEWEST_PICTURES", 8)
    monkeypatch.setattr(ImageClassifier, "training_settings", replace(ImageClassifier.training_settings, most_steps=2))
    before = (model / hub.MODEL_INDEX).read_bytes()
    code, out, _ = run(model, "--out", tmp_path / "tuned", *FEW, "--no-write", "--json")
    assert code == 0
    values = json.loads(out.splitlines()[-1])
    assert values["goal"] == "kid"
    assert values["written"] is False
    assert values["findings"]["guidance"].startswith("Guidance 6")
    assert (model / hub.MODEL_INDEX).read_bytes() == before
    code, out, _ = run(model, "--out", tmp_path / "tuned", *FEW)
    assert code == 0
    assert "report.html" in out
    written = json.loads((model / hub.MODEL_INDEX).read_text())["sampling"]
    assert written == (values["winner"] if values["better"] else json.loads(before)["sampling"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("image-to-speech-digits",), "image-to-speech"),
        (("nowhere",), "no such"),
        (("MODEL", "--score", "beauty"), "choose from balanced, kid, accuracy"),
        (("MODEL", "--set", "sampling.eta=1"), "leave it out"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(run, model, arguments, words):
    code, _, err = run(*(model if argument == "MODEL" else argument for argument in arguments))
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_shipped_model_is_refused_before_any_work(run, model, monkeypatch):
    monkeypatch.setattr(hub, "SHIPPED", model.parent)
    code, _, err = run(model)
    assert code == 2
    assert "copy it first" in err
    assert "--no-write" in err
