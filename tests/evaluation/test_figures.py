"""Diagnostic pictures: their axes say what is on them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.evaluation.figures import (
    confusion_figure,
    difference_figure,
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
    sweep = sweep_figure([1.0, 3.0], {"judge": points}, {"judge": 0.98}, 0.1, default=3.0)
    labels = [text.get_text() for text in sweep.legends[0].get_texts()]
    assert {"chance (0.100)", "ceiling, judge (0.980)", "the model's default"} <= set(labels)
    timesteps = timestep_figure([0.1, 0.9], {"right condition": [0.1, 0.5]}, floor=1.0)
    for figure in (sweep, timesteps):
        content = to_png(figure)
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert len(image.convert("L").getcolors()) > 2
        assert to_png(figure) == content
