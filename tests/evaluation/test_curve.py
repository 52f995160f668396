"""Runs of a recipe beside the run that made the model that ships: as it went, worse, slower, and not comparable."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from synesthete import hub
from synesthete.config import Recipe
from synesthete.evaluation.doctor.curve import CURVE, curve_checks
from synesthete.evaluation.doctor.run import read_run

if TYPE_CHECKING:
    from pathlib import Path

# Stages that fine-tune what the ones before have learned, and whose loss stays within its noise.
LEVEL = {("audio-to-image-digits", "lora")}


def points(name: str) -> list[dict]:
    return [json.loads(line) for line in (hub.SHIPPED / name / CURVE).read_text().splitlines()]


@pytest.fixture
def run(tmp_path):
    """`run(NAME, times, slower, num, KEY=VALUE...)` -> checks of a run whose losses are `times` those of the curve."""

    def make(name: str, times: float = 1.0, slower: float = 1.0, num: int | None = None, *assignments: str) -> list:
        shutil.copy(hub.SHIPPED / name / "recipe.yaml", tmp_path)
        recipe = Recipe.load(tmp_path / "recipe.yaml")
        for assignment in assignments:
            recipe.set(assignment)
        (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
        write(tmp_path / "metrics.jsonl", points(name)[:num], times, slower)
        return curve_checks(read_run(tmp_path))

    return make


def write(path: Path, curve: list[dict], times: float, slower: float) -> None:
    lines = []
    for point in curve:
        own = {"stage": point["stage"], "loss": point["loss"] * times, "seconds": point["seconds"] * slower}
        lines += [own | {"step": point["step"] - 1}, own | {"step": point["step"]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", hub.shipped_models())
def test_a_curve_is_that_of_its_recipe_and_falls(name, run):
    curve, recipe = points(name), Recipe.load(hub.SHIPPED / name / "recipe.yaml")
    for stage in recipe.stages:
        own = [point for point in curve if point["stage"] == stage.name]
        assert own[-1]["step"] == stage.num_steps
        assert own[-1]["loss"] < own[0]["high" if (name, stage.name) in LEVEL else "loss"]
        assert all(point["low"] <= point["loss"] <= point["high"] for point in own)
        assert [point["seconds"] for point in own] == sorted(point["seconds"] for point in own)
    assert "held_out_loss" in curve[-1]
    assert [check.verdict for check in run(name)] == ["ok"] * len(recipe.stages)


def test_a_run_that_departs_is_said_to(run):
    (worse,) = run("music-score", 2.0, 1.0, 4)
    assert (worse.verdict, worse.name) == ("warn", "curve")
    assert f"up to step {points('music-score')[3]['step']}" in worse.found
    assert "learns worse" in worse.advice
    (better,) = run("music-score", 0.5)
    assert better.verdict == "warn"
    assert "fewer or easier data" in better.advice
    (slow,) = run("music-score", 1.0, 5.0)
    assert slow.verdict == "warn"
    assert "times as slow" in slow.advice
    assert slow.figures["times_as_slow"] > 3


def test_another_recipe_is_not_compared_and_other_data_are_named(run):
    (check,) = run("music-score", 9.0, 1.0, None, "stages.denoise.batch_size=8")
    assert check.verdict == "ok"
    assert "another recipe: stages.0.batch_size is 16 there, 8 here" in check.found
    (check,) = run("music-compose", 9.0, 1.0, None, "data.limit=40", "stages.denoise.log_every=5")
    assert check.verdict == "warn"
    assert "data.limit is None there, 40 here" in check.advice


def test_what_has_no_curve_or_no_figures_yet_has_no_check(run):
    assert run("music-score", 1.0, 1.0, 0) == []
    assert run("music-score", 1.0, 1.0, None, "name=of-my-own") == []
