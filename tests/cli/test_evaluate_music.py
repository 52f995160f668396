"""`synesthete evaluate` on a model of music: from the folder that `train` leaves to a report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from synesthete.evaluation.classifiers.sound import SoundClassifier
from synesthete.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize("make", [RECIPES["music-notes-debug"], RECIPES["music-debug"]])
def test_a_tiny_model_is_trained_evaluated_and_reported(make, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(make().to_yaml())
    code, printed, said = run("train", "tiny.yaml", "--out", "run", "--no-watch", "--json")
    assert code == 0, said
    kept = json.loads((tmp_path / "run" / "model" / "classifier" / "classifier.json").read_text())
    assert not [note for note in json.loads(printed.splitlines()[-1])["notes"] if "no classifier" in note]

    quick = replace(SoundClassifier.training_settings, num_passes=1, fewest_steps=20)
    monkeypatch.setattr(SoundClassifier, "training_settings", quick)
    code, printed, said = run("evaluate", "run", "--num", 10, "--seed", 3)
    assert code == 0, said
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    assert sum("ceiling" in line for line in printed.splitlines()) >= 10
    values = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert values["facts"]["sounds"].startswith("10 made, seed 3")
    keys = {metric["key"] for metric in values["metrics"]}
    assert keys >= {"frechet_distance", "audio_descriptor_tempogram_distance", "memorization_distance_spectrogram"}
    classes = make is RECIPES["music-notes-debug"]
    assert ("class_accuracy" in keys) == any(key.startswith("saved") for key in keys) == classes
    assert (kept["num_test"] > 0) == classes

    code, _, said = run("evaluate", "run", "--overwrite", "--listener", "none")
    assert code == 2 and "--listener" in said[0]
    code, _, said = run("evaluate", "run", "--overwrite", "--features", "nowhere", "--num", 10)
    assert code == 2
    assert "no features 'nowhere'" in said[0]
