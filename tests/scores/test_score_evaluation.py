"""The evaluation of a model that plays scores: each figure with floor and ceiling, and jumps at seams found."""

from __future__ import annotations

import json

import pytest
import torch

from synesthete.evaluation.metrics.metric import by_key
from synesthete.pipeline import Canvas
from synesthete.pipeline.canvas import Frames, plan
from synesthete.tasks.music_score.evaluation import stretches_of
from synesthete.tasks.music_score.stretches import about_borders, jumps, window_borders
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
    assert {f"seam_jump_{which}_{what}" for which in ("mean", "largest") for what in ("level", "spectrum")} <= keys
    assert any(key.endswith("from_62_hz_up") for key in keys)
    assert {"frechet_distance", "seconds_per_sample"} <= keys
    saved = json.loads((folder / "report.json").read_text())
    assert saved["notes_transcriber"]["note_f1"]["made"] == notes.value


def test_stretches_are_of_the_split_and_aligned(untrained):
    data = untrained.recipe.data()
    found, learned = (stretches_of(untrained.recipe, data.performances(), s, num=6, seed=0) for s in ("test", "train"))
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
