"""Diagnostic pictures: their axes say what is on them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.evaluation.reporting.figures import (
    confusion_figure,
    difference_figure,
    pitch_figure,
    spectrogram_figure,
    sweep_figure,
    timestep_figure,
    to_png,
)
from synesthete.types import AudioSpec

SPEC = AudioSpec()


def test_a_spectrogram_has_seconds_and_kilohertz():
    figure = spectrogram_figure(torch.full((100, 64), -6.0), SPEC, "seven")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("time (s)", "frequency (kHz)", "seven")
    assert axes.get_xlim()[1] == pytest.approx(63.5 * 256 / 24_000)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.2", "0.5", "1", "2", "4", "8"]


@pytest.mark.parametrize("frequency", [500, 2000, 8000])
def test_a_tone_is_at_its_mark(frequency):
    from synesthete.codecs.mel import MelCodec

    tone = torch.sin(2 * torch.pi * frequency * torch.arange(16_383) / 24_000)
    log_mel = MelCodec(num_samples=16_383).log_mel(tone[None])[0]
    loudest = int(log_mel[:, 32].argmax())
    axes = spectrogram_figure(log_mel, SPEC).axes[0]
    marks = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert abs(marks[f"{frequency / 1000:g}"] - loudest) <= 1


def test_the_difference_is_signed_and_centred():
    reference = torch.zeros(100, 64)
    estimate = reference.clone()
    estimate[:50] += 1.0
    estimate[50:] -= 0.5
    image = difference_figure(reference, estimate, SPEC).axes[2].images[0]
    shown = np.asarray(image.get_array())
    assert shown[0, 0] == pytest.approx(20 / np.log(10))
    assert shown[-1, 0] == pytest.approx(-10 / np.log(10))
    low, high = image.get_clim()
    assert low == -high
    red, _, blue, _ = image.cmap(image.norm(shown[0, 0]))
    assert red > blue


def test_confusion_rows_are_what_was_shown():
    counts = torch.tensor([[5, 0, 0], [3, 1, 1]])
    figure = confusion_figure(counts, ["cat", "dog"])
    axes = figure.axes[0]
    texts = {tuple(int(v) for v in text.get_position()): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "5", (0, 1): "3", (1, 1): "1", (2, 1): "1"}  # (column, row)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "nothing"]
    without = confusion_figure(torch.tensor([[5, 0, 0], [3, 2, 0]]), ["cat", "dog"])
    assert [label.get_text() for label in without.axes[0].get_xticklabels()] == ["cat", "dog"]


def test_curves_are_pictures_with_their_floor_and_ceiling():
    points = [(0.3, 0.2, 0.4), (0.9, 0.8, 0.95)]
    sweep = sweep_figure([1.0, 3.0], {"classifier": points}, {"classifier": 0.98}, 0.1, default=3.0)
    labels = [text.get_text() for text in sweep.legends[0].get_texts()]
    assert {"chance (0.100)", "ceiling, classifier (0.980)", "the model's default"} <= set(labels)
    timesteps = timestep_figure([0.1, 0.9], {"right condition": [0.1, 0.5]}, floor=1.0)
    for figure in (sweep, timesteps):
        content = to_png(figure)
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert len(image.convert("L").getcolors()) > 2
        assert to_png(figure) == content


def test_of_a_hundred_classes_the_most_confused_are_shown():
    """Thirty classes are taken for their neighbours now and then, one of them once for a class far away."""
    counts = torch.zeros(100, 101, dtype=torch.int64)
    counts[range(100), range(100)] = 5
    for i in range(40, 70):
        counts[i, i + 1] = 2
    counts[50, 3], counts[50, 100] = 1, 1
    names = [f"class {i}" for i in range(100)]
    axes = confusion_figure(counts, names, "classifier").axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert len(rows) == 30
    assert {"class 50", "class 51", "class 69"} <= set(rows)
    assert columns == [*rows, "another class", "nothing"]
    share = np.asarray(axes.images[0].get_array())
    assert share.sum(axis=1) == pytest.approx(np.ones(30))
    assert share[rows.index("class 50"), columns.index("another class")] == pytest.approx(1 / 9)
    assert "30 most confused of 100 classes" in axes.get_title()


def test_pitches_are_marked_in_hertz_and_silence_is_left_out():
    generated, real = torch.tensor([0.0, 0.5, 12.0, float("nan")]), torch.tensor([0.0, 4.0])
    axes = pitch_figure(generated, real, "ten pictures").axes[0]
    marks = dict(zip([label.get_text() for label in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert (marks["100"], marks["200"]) == (0, 12)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["generated (n = 3)", "real voices (n = 2)"]
    assert pitch_figure(generated[3:], real[:0]).axes  # nothing voiced at all
