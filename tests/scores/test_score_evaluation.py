"""The evaluation of a model that plays scores: each figure with floor and ceiling, and jumps at seams found."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from benchmarks import seams

from synesthete.evaluation.metrics.metric import by_key
from synesthete.pipeline import Canvas
from synesthete.pipeline.canvas import Frames, plan
from synesthete.tasks.music_score.stretches import (
    about_borders,
    butted,
    draw_stretches,
    jumps,
    largest_of,
    over_elsewhere,
    window_borders,
)
from synesthete.tasks.task import task_of
from tiny_scores import FRAMES, HOP, RATE


@pytest.fixture(scope="module")
def report(untrained, tmp_path_factory, undrawn):
    folder = tmp_path_factory.mktemp("report")
    task = task_of(untrained.recipe)
    how = {"model": "tiny", "folder": untrained.folder, "data": untrained.folder.parent / "data", "num": 10}
    return task.evaluate(untrained.pipeline, untrained.recipe, folder, **how), folder


def test_every_figure_has_what_it_is_to_be_read_against(report):
    found, folder = report
    for key in ("note_f1", "note_frame_f1", "note_f1_over_ceiling", "class_accuracy"):
        metric = by_key(found.metrics, key)
        assert None not in (metric.chance, metric.shuffled, metric.ceiling)
    notes, over = (by_key(found.metrics, key) for key in ("note_f1", "note_f1_over_ceiling"))
    told = by_key(found.metrics, "class_accuracy")
    assert told.ceiling > told.chance
    assert over.value == pytest.approx(notes.value / notes.ceiling)
    octaves = [metric for metric in found.metrics if metric.key.startswith("octave_level_")]
    assert octaves[0].key == "octave_level_62_to_125_hz"
    assert len(octaves) == 6
    keys = {metric.key for metric in found.metrics}
    for key in (f"seam_jump_{which}_{what}" for which in ("mean", "largest") for what in ("level", "spectrum")):
        metric = by_key(found.metrics, key)
        assert None not in (metric.chance, metric.ceiling)
    assert any(key.endswith("from_62_hz_up") for key in keys)
    assert {"frechet_distance", "seconds_per_sample"} <= keys
    saved = json.loads((folder / "report.json").read_text())
    assert saved["notes_transcriber"]["note_f1"]["made"] == notes.value


def test_stretches_are_of_the_split_and_aligned(untrained):
    data = untrained.recipe.data()
    found, learned = (
        draw_stretches(untrained.recipe, data.performances(), s, num=6, seed=0) for s in ("test", "train")
    )
    assert len(found) == len(learned) == 6
    assert found.waveforms.shape == learned.waveforms.shape
    assert found.rolls.shape[-1] == found.waveforms.shape[1] // HOP + 1
    loud = found.waveforms.float().unfold(1, HOP, HOP).square().mean(dim=2).sqrt() > 300
    sounding = found.rolls[:, 0].any(dim=1)[:, : loud.shape[1]].bool()
    assert (loud == sounding).double().mean() > 0.85


def test_borders_are_where_windows_give_way(untrained):
    codec = untrained.pipeline.codec
    frames, overlap = Frames.of(codec), FRAMES // 4
    canvas = Canvas.in_whole_windows(codec, 1, 70 * HOP, overlap)
    windows = plan(canvas.known, frames, overlap)
    firsts = [window.first for window in windows[1:] if window.first < 71]
    assert window_borders(frames, overlap, 71) == pytest.approx([frames.seconds(first) for first in firsts])


def test_a_step_of_loudness_at_a_border_is_found():
    sound = torch.sin(torch.arange(3 * RATE) * 0.3).expand(2, -1) * 0.1
    stepped = sound.clone()
    stepped[:, RATE:] *= 4
    even, uneven = (jumps(each, RATE) for each in (sound, stepped))
    for name in ("level", "spectrum"):
        at, elsewhere = about_borders(uneven[name][:, 5:-5], [1.0 - 5 * 0.016], RATE)
        assert at.max() > 3 * elsewhere.max()
        at, elsewhere = about_borders(even[name][:, 5:-5], [1.0], RATE)
        assert at.max() < 2 * elsewhere.max() + 0.1


def test_the_largest_of_as_many_is_a_mean_over_all_draws():
    values = torch.tensor([3.0, 1.0, 8.0, 5.0, 2.0, 8.0])
    for num in range(1, 7):
        draws = [max(draw) for draw in itertools.combinations(values.tolist(), num)]
        assert largest_of(values, num) == pytest.approx(sum(draws) / len(draws))
    assert largest_of(values, 100) == 8


def test_windows_that_know_nothing_of_each_other_jump_where_they_meet():
    draw = torch.Generator().manual_seed(0)
    one, other = (level * torch.randn(4, 4 * RATE, generator=draw) for level in (0.2, 0.02))
    borders = [1.0, 2.0, 3.0]
    mixed = butted(one, other, borders, RATE)
    assert torch.equal(mixed[:, :RATE], one[:, :RATE]) and torch.equal(
        mixed[:, RATE : 2 * RATE], other[:, RATE : 2 * RATE]
    )
    for sounds, least, most in ((one, 0.5, 1.5), (mixed, 3.0, 99.0)):
        jumped = jumps(sounds, RATE)["level"]
        for figure in over_elsewhere(*about_borders(jumped, borders, RATE)).values():
            assert least < figure < most


def test_held_out_pieces_are_played_after_one_another(untrained):
    sounds, told = seams.held_out(untrained.recipe, 3, 5 * RATE)
    pieces = untrained.recipe.data().performances()["test"]
    assert sounds.shape == (3, 5 * RATE) and len(told) == 3
    for sound, (roll, instrument), piece in zip(sounds, told, pieces, strict=False):
        own = torch.from_numpy(piece.sound(RATE))
        num = len(own) // HOP
        assert instrument == piece.instrument and roll.shape == (2, 128, 5 * RATE // HOP + 1)
        assert torch.equal(sound[: num * HOP], own[: num * HOP][: 5 * RATE])
        assert torch.equal(roll[..., :num], piece.score.frames(num, HOP / RATE, start=-piece.lead))
        assert roll[1, :, num:].any()  # and then another
    made = seams.play(untrained.pipeline, told[:1], 2 * RATE, 0, {})
    assert made.shape == (1, 2 * RATE) and made.any()
