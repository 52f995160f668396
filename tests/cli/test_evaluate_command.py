"""`synesthete evaluate` on models of pictures: from the folder that `train` leaves to a report, or one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from synesthete.evaluation.classifiers.image import ImageClassifier
from tiny_pictures import tiny_recipe

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_tiny_model_is_trained_evaluated_and_reported(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny_recipe().to_yaml())
    code, printed, said = run("train", "tiny.yaml", "--out", "run", "--json")
    assert code == 0, said
    kept = json.loads((tmp_path / "run" / "model" / "classifier" / "classifier.json").read_text())
    assert kept["num_test"] == 24
    assert not [note for note in json.loads(printed.splitlines()[-1])["notes"] if "no classifier" in note]

    # The classifier of the evaluation trains for longer; this one is to take no more of a test's time than it must.
    quick = replace(ImageClassifier.training_settings, fewest_steps=40)
    monkeypatch.setattr(ImageClassifier, "training_settings", quick)
    card = tmp_path / "run" / "model" / "README.md"
    assert "model-index" not in card.read_text()
    code, printed, said = run("evaluate", "run", "--num", 12, "--seed", 3)
    assert code == 0, said
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    assert sum("ceiling" in line for line in printed.splitlines()) >= 8
    values = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert values["facts"]["pictures"].startswith("12 made, seed 3")
    keys = {metric["key"] for metric in values["metrics"]}
    assert f"type: {values['metrics'][0]['title'].partition(' (')[0].replace(' ', '_')}" in card.read_text()
    assert keys >= {"class_accuracy", "fid", "kid_over_floor", "recall", "memorization_distance_pixels"}
    assert any(key.startswith("saved") for key in keys)
    assert (tmp_path / "run" / "report" / "pictures" / "gallery.png").is_file()

    assert run("evaluate", "run")[::2] == (
        2,
        ["synesthete: run/report: holds a report already; give --overwrite or another --out"],
    )
    code, _, said = run("evaluate", "run", "--overwrite", "--listener", "none")
    assert code == 2 and "--listener" in said[0]
    code, _, said = run("evaluate", "run", "--overwrite", "--features", "nowhere", "--num", 12)
    assert code == 2
    assert len(said) == 1
    assert "no features 'nowhere'" in said[0]


def test_features_are_refused_for_a_model_that_speaks(run, pipeline, tmp_path):
    pipeline.save(tmp_path / "model")
    code, _, said = run("evaluate", tmp_path / "model", "--features", "clip", "--out", tmp_path / "report")
    assert code == 2
    assert len(said) == 1
    assert "--features" in said[0]
