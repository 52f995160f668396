"""Scores prepared, and a model of them trained by the command line."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from synesthete.cli.app import app
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.tasks import prepare, task_of
from synesthete.types import InputError

RECIPE = "music-compose-debug"


def test_chorales_are_prepared(tmp_path):
    recipe = find_recipe(RECIPE)
    prepared = prepare(recipe, tmp_path)
    values, told = task_of(recipe).describe_prepared(prepared)
    assert values["train_windows"] == 24
    assert values["test_windows"] > 0
    assert "no melody in two of them" in told
    train, test = (set(part.pieces.tolist()) for part in (prepared.train, prepared.test))
    names = [{part.names[i] for i in chosen} for part, chosen in ((prepared.train, train), (prepared.test, test))]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [("codec.num_columns=40", "multiple of 16"), ("codec.num_voices=3", "codec.num_voices=4")],
)
def test_what_does_not_fit_is_said(assignment, said, tmp_path):
    recipe = find_recipe(RECIPE)
    recipe.set(assignment)
    with pytest.raises(InputError, match=said):
        prepare(recipe, tmp_path)


def test_a_model_is_trained_by_the_command_and_makes_scores(tmp_path):
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", RECIPE, "--data", str(tmp_path / "data"), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert list((out / "previews").glob("step_*.png"))
    pipeline = Pipeline.load(str(out))
    raw = prepare(find_recipe(RECIPE), tmp_path / "data").test.batch(torch.arange(2), torch.Generator()).raw
    output = pipeline(raw, generators=[torch.Generator().manual_seed(i) for i in range(2)])
    assert output.signal.shape == (2, 4, 2, 32)
    assert output.signal.dtype == torch.uint8
    result = CliRunner().invoke(app, ["play", str(out), "--num", "1", "--bars", "1", "--out", str(tmp_path / "played")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "played" / "000.mid").is_file()
