"""Pictures of sets of sounds: how loud each band is, which tones sound, how onsets follow each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from synesthete.evaluation.audio_features.audio_descriptors import mean_histogram
from synesthete.evaluation.audio_features.bands import (
    THIRDS,
    band_differences,
    octave_names,
    octave_power,
    profile,
    third_edges,
)
from synesthete.evaluation.audio_features.pitch import LOWEST
from synesthete.evaluation.reporting.figures import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from synesthete.evaluation.audio_features.audio_descriptors import AudioDescriptors

TONES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LIMIT_DB = 3.0  # the difference of an octave's level that is hardly heard


def bands_figure(
    descriptors: Mapping[str, AudioDescriptors], real: str, made: str, sample_rate: int, title: str = ""
) -> Figure:
    """Level of each third of an octave of every set, and how much louder each octave of `made` is than of `real`.

    What a model left out altogether, such as all highs, is where its curve falls away from the real one's.
    """
    figure = Figure(figsize=(7.4, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2, 1))
    edges = third_edges(sample_rate).double()
    centres = (edges[:-1] * edges[1:]).sqrt().tolist()
    levels = {name: profile(found.thirds) for name, found in descriptors.items()}
    for (name, level), colour in zip(levels.items(), COLOURS, strict=False):
        thick = name in (made, real)
        top.plot(centres, level.tolist(), color=colour, linewidth=2 if thick else 1, label=name)
    loudest = max(float(level.max()) for level in levels.values())
    top.set_ylim(loudest - 90, loudest + 5)
    top.fill_between(centres, levels[made].tolist(), levels[real].tolist(), color="0.5", alpha=0.15)
    mark_hertz(top, edges[0].item(), edges[-1].item())
    top.set_ylabel("level of a third of an octave (dB)")
    top.grid(alpha=0.25)
    top.legend(fontsize=8, frameon=False)
    top.set_title(title, fontsize=10)
    apart = band_differences(*(octave_power(descriptors[name].thirds) for name in (made, real))).tolist()
    lows = edges[:-1:THIRDS].tolist()
    widths = np.diff([*lows, edges[-1].item()])
    colours = [COLOURS[1] if abs(value) > LIMIT_DB else COLOURS[0] for value in apart]
    bottom.bar(lows, apart, widths, align="edge", color=colours, edgecolor="white")
    bottom.axhspan(-LIMIT_DB, LIMIT_DB, color="0.5", alpha=0.12)
    bottom.axhline(0, color="0.3", linewidth=0.8)
    mark_hertz(bottom, edges[0].item(), edges[-1].item())
    bottom.set_ylabel(f"{made} - {real} (dB)")
    return figure


def mark_hertz(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis of frequency with an octave's distance between marks."""
    axes.set_xscale("log")
    shown = [low * 2**octave for octave in range(int(math.log2(high / low)) + 1)]
    axes.set_xticks(shown, [f"{hertz / 1000:g}k" if hertz >= 1000 else f"{hertz:.0f}" for hertz in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)
    axes.set_xlabel("frequency (Hz)")


def histograms_figure(descriptors: Mapping[str, AudioDescriptors], frame_rate: float, first_lag: int) -> Figure:
    """Tempogram, onsets a second, pitches and pitch classes of every set.

    frame_rate: of onset strengths, a second. first_lag: of the tempogram, in frames.
    """
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    (tempo, onsets), (pitches, classes) = figure.subplots(2, 2)
    width = 0.8 / len(descriptors)
    most = max(float(found.onsets.max()) for found in descriptors.values())
    edges = np.linspace(0, max(most, 1.0), 16)
    for i, ((name, found), colour) in enumerate(zip(descriptors.items(), COLOURS, strict=False)):
        if found.tempogram.shape[1]:
            lags = (np.arange(found.tempogram.shape[1]) + first_lag) / frame_rate
            tempo.plot(lags, found.tempogram.mean(dim=0), color=colour, linewidth=1.2, label=name)
        values = found.onsets.numpy()
        onsets.hist(values, edges, weights=np.full(len(values), 1 / len(values)), histtype="step", color=colour)
        shares = mean_histogram(found.pitches)
        pitches.plot(np.arange(len(shares)) + LOWEST, shares, color=colour, linewidth=1.2)
        classes.bar(
            np.arange(12) + (i - (len(descriptors) - 1) / 2) * width,
            mean_histogram(found.pitch_classes),
            width,
            color=colour,
        )
    tempo.set_xlabel("time until onsets come again (s)")
    onsets.set_xlabel("onsets a second")
    pitches.set_xlabel("partial (MIDI number; 69 is 440 Hz)")
    classes.set_xlabel("pitch class")
    classes.set_xticks(range(12), TONES, fontsize=8)
    for axes in (tempo, onsets, pitches, classes):
        axes.set_ylabel("correlation" if axes is tempo else "share")
        axes.grid(alpha=0.25)
    handles = list(tempo.get_lines())
    if handles:
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def say_bands(descriptors: Mapping[str, AudioDescriptors], real: str, made: str, sample_rate: int) -> str:
    """Which octaves are more than LIMIT_DB too loud or too quiet, in plain words."""
    apart = band_differences(*(octave_power(descriptors[name].thirds) for name in (made, real))).tolist()
    names = octave_names(sample_rate)
    far = [f"{name} ({value:+.1f} dB)" for name, value in zip(names, apart, strict=True) if abs(value) > LIMIT_DB]
    if not far:
        return f"Every octave is within {LIMIT_DB:g} dB of real pieces."
    return f"Octaves more than {LIMIT_DB:g} dB from real pieces: {', '.join(far)}."
