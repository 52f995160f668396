"""The recipe of scores: its debug twin trains to a model that plays a roll, shows it, and hears what came before."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from synesthete import seeding, tasks
from synesthete.data.picture import GAP
from synesthete.pipeline import Canvas, Pipeline
from synesthete.pipeline.canvas import Frames, plan
from synesthete.pipeline.long_form import sample_long_form
from synesthete.recipes import find_recipe
from synesthete.training.loop import train_recipe
from synesthete.types import InputError

DEBUG = "music-score-debug"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    recipe = find_recipe(DEBUG)
    prepared = tasks.prepare(recipe, folder / "data")
    train_recipe(recipe, prepared, folder / "run")
    return folder / "run", prepared


def test_what_was_asked_for_is_above_what_was_made(run):
    """Roll, real and made, a row each; the instruments beside each other."""
    folder, _ = run
    sheet = Image.open(folder / "previews" / "step_0000006.png").convert("L")
    assert sheet.height % 3 == (2 * GAP) % 3
    height = (sheet.height - 2 * GAP) // 3
    top = sheet.crop((0, 0, sheet.width, height))
    assert len(set(top.getdata()) - {255}) <= 2  # nothing and notes; their beginnings are as white as the gaps
    assert (folder / "previews" / "step_0000006.wav").is_file()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("condition_sensitivity" in line for line in lines)


def test_the_model_knows_its_instruments_and_plays_a_roll(run):
    folder, prepared = run
    model = Pipeline.load(str(folder))
    assert model.conditioner.instruments == prepared.class_names == ("organ", "guitar")
    assert model.config.card["task"] == "music-score"
    roll = prepared.test.window(0, 0)[1][None]
    told = model.conditioner.compose(roll, "guitar")
    made = model(told, generators=seeding.sample_generators(0, 1))
    assert made.signal.shape == (1, 32 * 160 - 1)
    assert torch.isfinite(made.signal).all()
    other = model(model.conditioner.compose(roll, "organ"), generators=seeding.sample_generators(0, 1))
    assert not torch.equal(made.x_0, other.x_0)


def test_what_is_known_reaches_the_network(run):
    folder, prepared = run
    model = Pipeline.load(str(folder))
    batch = prepared.test.batch(torch.tensor([0]), seeding.generator(0))
    roll, known = batch.raw.roll, torch.arange(32)[None] < 8
    first, second = (
        model(model.conditioner.compose(roll, "organ", before, known), generators=seeding.sample_generators(0, 1)).x_0
        for before in (batch.signal, -batch.signal)
    )
    assert not torch.equal(first, second)


def test_without_a_sound_font_the_recipe_says_what_to_set():
    data = find_recipe("music-score").data()
    with pytest.raises(InputError, match=r"--set data\.sources\.0\.instruments\.0\.path=") as caught:
        data.sources[0].instruments[0].identity()
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_fit_are_told_what_to_set():
    with pytest.raises(InputError, match=r"the conditioner lays 40 x 16 beside it; --set conditioner\.num_bins=40"):
        find_recipe(DEBUG, ["conditioner.num_frames=16"])
    with pytest.raises(InputError, match=r"ScoreRoll lays 4 channels .* --set denoiser\.spatial_channels=4"):
        find_recipe(DEBUG, ["denoiser.spatial_channels=null"])


def test_long_music_is_told_each_window_its_notes_and_what_came_before(run, monkeypatch):
    """60 frames in windows of 32 with overlaps of 8; the roll ends before the sound does."""
    model = Pipeline.load(str(run[0]))
    codec, seen = model.codec, []
    canvas = Canvas.unconditional(codec, 2, 59 * 160)
    roll = torch.zeros(2, 2, 128, 50, dtype=torch.uint8)
    roll[:, 0, 60, torch.arange(0, 50, 2)] = 1
    encode = model.conditioner.encode
    monkeypatch.setattr(model.conditioner, "encode", lambda raw, *more: (seen.append(raw), encode(raw, *more))[1])
    told = model.conditioner.compose(roll, "guitar")
    made = sample_long_form(model, told, canvas, num_corrections=0, num_inference_steps=2)
    assert made.signal.shape == (2, 59 * 160)
    assert canvas.known.all()
    windows = plan(torch.zeros(60, dtype=torch.bool), Frames.of(codec), 8)
    assert len(seen) == len(windows) == 3
    assert [bool(raw.known.any()) for raw in seen] == [False, True, True]
    for window, raw in zip(windows, seen, strict=True):
        there = roll[..., window.start : window.start + 32]
        assert torch.equal(raw.roll[..., : there.shape[-1]], there)
        assert not raw.roll[..., there.shape[-1] :].any()
        num = window.first - window.start
        assert raw.known[:, :num].all()
        assert not raw.known[:, num:].any()
        assert torch.equal(raw.before[..., :num], made.x_0[..., window.start : window.first])
    assert len(seen[1]) == 2
