"""`synesthete evaluate` and `synesthete cycle` on a model that paints sounds: from `train` to a report, or one line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from paired_files import write_classes
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.tasks.audio_to_image import sensitivity

sys.path.append(str(Path(__file__).parents[1] / "training"))

from hearing_runs import hearing_recipe

pytestmark = pytest.mark.usefixtures("undrawn")


STAGES = ("base", "tokens", "gates")


def test_a_tiny_model_is_trained_evaluated_and_reported_stage_by_stage(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = replace(ImageClassifier.training_settings, fewest_steps=30)
    monkeypatch.setattr(ImageClassifier, "training_settings", quick)
    write_classes(tmp_path / "files")
    monkeypatch.setattr(sensitivity, "FRACTIONS", (0.5, 0.9))
    seldom = (f"stages.{name}.checkpoint_every=4" for name in STAGES)
    (tmp_path / "tiny.yaml").write_text(hearing_recipe(tmp_path / "files", *seldom, stages=STAGES).to_yaml())
    code, _, said = run("train", "tiny.yaml", "--out", "run", "--no-watch", "--json")
    assert code == 0, said
    code, printed, said = run("evaluate", "run", "--num", 10, "--seed", 3, "--json")
    assert code == 0, said
    values = json.loads(printed.splitlines()[-1])
    assert values["report"] == "run/report"
    assert [stage["name"] for stage in values["stages"]] == list(STAGES)
    assert values["strength_0_is_base"] is True
    assert set(values["uses"]) == {"sound", "text beside sound", "text alone"}
    keys = {metric["key"] for metric in values["metrics"]}
    assert keys >= {
        "class_accuracy_heard_held_out_takes",
        "retrieval_mean_rank_the_class",
        "adapter_off",
        "adapter_gates",
    }
    assert (tmp_path / "run" / "report" / "pictures" / "sheet-held-out-takes.png").is_file()

    code, _, said = run("evaluate", "run", "--overwrite", "--listener", "none")
    assert code == 2 and "--listener" in said[0]
    code, _, said = run("cycle", "image-to-speech-digits", "run", "--num", 10)
    assert code == 2
    assert len(said) == 1
    assert "give two that share classes" in said[0]
    code, _, said = run("cycle", "run", "run", "--num", 10)
    assert (code, len(said)) == (2, 1)
    assert "the first model speaks no pictures" in said[0]
