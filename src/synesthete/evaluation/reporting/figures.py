"""Diagnostic pictures. Each function returns a matplotlib Figure; `to_png` makes a file's content of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from torch import Tensor

    from synesthete.types import AudioSpec

DECIBELS = 20 / np.log(10)  # in one e-fold of magnitude
# Natural logarithms of mel magnitude. The loudest cells of clips normalised to 0.95 lie between 3.8 and 5.5; what is
# 70 dB below them cannot be heard beside them.
QUIETEST, LOUDEST = -3.0, 5.0
FREQUENCIES = (200, 500, 1000, 2000, 4000, 8000)  # Hz, marked on the axis where the spectrogram reaches them
NUM_CONFUSED = 30  # classes whose names can still be read in a confusion matrix
OTHERS = "another class"
COLOURS = ("#1f5fa8", "#c8541b", "#3b8f52", "#7a4fa3")


def to_png(figure: Figure, dpi: int = 120) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=dpi, metadata={"Software": None})
    return encoded.getvalue()


def spectrogram_figure(
    log_mel: Tensor, spec: AudioSpec, title: str = "", size: tuple[float, float] | None = None
) -> Figure:
    """A log-mel (n_mels, T) over time and frequency, in dB of mel magnitude. size: inches; by the length where None."""
    figure = Figure(figsize=size or _spectrogram_size(log_mel, spec), layout="constrained")
    axes = figure.add_subplot()
    image = _spectrogram(
        axes, log_mel * DECIBELS, spec, cmap="magma", vmin=QUIETEST * DECIBELS, vmax=LOUDEST * DECIBELS
    )
    figure.colorbar(image, ax=axes, label="magnitude (dB)", pad=0.02)
    axes.set_title(title, fontsize=10)
    return figure


def difference_figure(reference: Tensor, estimate: Tensor, spec: AudioSpec, title: str = "") -> Figure:
    """Two log-mels (n_mels, T) above each other and, below, the signed difference: red where the estimate is louder.

    What is below the quietest shown level in both is counted as equal: nobody can hear it.
    """
    width, height = _spectrogram_size(reference, spec)
    figure = Figure(figsize=(width, 2.6 * height), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    a, b = (x.clamp(min=QUIETEST) * DECIBELS for x in (reference, estimate))
    for axes, values, name in ((top, a, "real"), (middle, b, "through the codec")):
        image = _spectrogram(axes, values, spec, cmap="magma", vmin=QUIETEST * DECIBELS, vmax=LOUDEST * DECIBELS)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("")
    figure.colorbar(image, ax=[top, middle], label="magnitude (dB)", pad=0.02)
    limit = max(6.0, float(np.ceil(np.quantile(np.abs(_array(b - a)), 0.995))))
    image = _spectrogram(bottom, b - a, spec, cmap="RdBu_r", vmin=-limit, vmax=limit)
    bottom.set_title("through the codec minus real", fontsize=9)
    figure.colorbar(image, ax=bottom, label="difference (dB)", pad=0.02, extend="both")
    figure.suptitle(title, fontsize=10)
    return figure


def confusion_figure(
    counts: Tensor,
    class_names: Sequence[str],
    title: str = "",
    nothing: str = "nothing",
    sides: tuple[str, str] = ("the picture shows", "heard as"),
) -> Figure:
    """Counts (C, C + 1) as `distances.confusion` makes them, shaded by the share of each row; sides: rows, columns.

    Of more than NUM_CONFUSED classes the most confused ones are shown; a column counts what was heard as any other.
    """
    table, rows = _array(counts), list(class_names)
    if len(rows) > NUM_CONFUSED:
        table, rows = _most_confused(table, rows)
        title = f"{title}\nthe {len(rows)} most confused of {len(class_names)} classes".strip()
    names = [*rows, *([OTHERS] if len(rows) < len(class_names) else []), nothing]
    if not table[:, -1].any():
        table, names = table[:, :-1], names[:-1]
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * len(rows) + 1.6)
    figure = Figure(figsize=(side + 0.9 + 0.2 * (len(names) > len(rows)), side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlabel(sides[1])
    axes.set_ylabel(sides[0])
    if len(rows) <= 25:
        for row, column in zip(*np.nonzero(table), strict=True):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, label="share of the row", pad=0.02, shrink=0.85)
    axes.set_title(title, fontsize=10)
    return figure


def _most_confused(table: np.ndarray, class_names: list[str]) -> tuple[np.ndarray, list[str]]:
    """The classes with most mistakes, in their order: counts (c, c + 2) with those of all others in a column."""
    mistakes = table.copy()
    np.fill_diagonal(mistakes, 0)
    number = mistakes.sum(axis=1) + mistakes[:, :-1].sum(axis=0)
    chosen = np.sort(np.argsort(-number, kind="stable")[:NUM_CONFUSED])
    inside, nothing = table[np.ix_(chosen, chosen)], table[chosen, -1:]
    others = table[chosen].sum(axis=1, keepdims=True) - inside.sum(axis=1, keepdims=True) - nothing
    return np.hstack([inside, others, nothing]), [class_names[i] for i in chosen]


def pitch_figure(generated: Tensor, real: Tensor, title: str = "") -> Figure:
    """How often each median pitch (n,), in semitones over 100 Hz, is spoken and is real; NaN has no pitch."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    both = {"generated": _array(generated), "real voices": _array(real)}
    both = {name: values[np.isfinite(values)] for name, values in both.items()}
    everything = np.concatenate(list(both.values()))
    low, high = (np.floor(everything.min()), np.ceil(everything.max())) if len(everything) else (0, 1)
    edges = np.arange(low, high + 2)
    for (name, values), colour in zip(both.items(), COLOURS, strict=False):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, list(edges), weights=weights, color=colour, alpha=0.55, label=f"{name} (n = {len(values)})")
    shown = [hertz for hertz in (80, 100, 125, 160, 200, 250, 320, 400) if low <= 12 * np.log2(hertz / 100) <= high]
    axes.set_xticks([12 * np.log2(hertz / 100) for hertz in shown], [str(hertz) for hertz in shown])
    axes.set_xlabel("median pitch (Hz)")
    axes.set_ylabel("share")
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=10)
    return figure


def sweep_figure(
    guidance: Sequence[float],
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    ceilings: Mapping[str, float],
    chance: float,
    title: str = "",
    default: float | None = None,
    measure: str = "accuracy",
) -> Figure:
    """A share against guidance scale. curves: name -> (value, low, high) at each scale; ceilings by the same names."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for index, ((name, points), colour) in enumerate(zip(curves.items(), COLOURS, strict=False)):
        values, low, high = (np.array(column) for column in zip(*points, strict=True))
        axes.errorbar(
            guidance,
            values,
            yerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)],
            marker="os^D"[index],
            markersize=5,
            capsize=3,
            color=colour,
            label=name,
        )
        if name in ceilings:
            label = f"ceiling, {name} ({ceilings[name]:.3f})"
            axes.axhline(ceilings[name], color=colour, linestyle="--", linewidth=1, label=label)
    axes.axhline(chance, color="0.4", linestyle=":", linewidth=1.2, label=f"chance ({chance:.3f})")
    if default is not None:
        axes.axvline(default, color="0.85", linewidth=6, zorder=0, label="the model's default")
    axes.set_xticks(list(guidance), [f"{scale:g}" for scale in guidance])
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlabel("guidance scale (1 = off)")
    axes.set_ylabel(measure)
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    axes.set_title(title, fontsize=10)
    return figure


def timestep_figure(
    fractions: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    floor: float | None = None,
    guess: str = "the mean clip",
) -> Figure:
    """Mean square error in x_0 space against the way to noise, a curve a condition; floor: the error of `guess`."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (name, values), colour, marker in zip(curves.items(), COLOURS, "os^D", strict=False):
        axes.plot(fractions, values, marker=marker, markersize=4, color=colour, label=name)
    if floor is not None:
        axes.axhline(floor, color="0.4", linestyle=":", linewidth=1.2, label=f"no network: {guess} ({floor:.3g})")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("t / T (0 = clean, 1 = noise)")
    axes.set_ylabel("MSE of x_0 (unit variance)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=10)
    return figure


def _spectrogram(axes: Axes, values: Tensor, spec: AudioSpec, **colours: Any) -> Any:
    """Values (n_mels, T) with seconds and kHz along the sides."""
    table = _array(values)
    num_bands, num_frames = table.shape
    half = 0.5 * spec.hop_length / spec.sample_rate
    end = (num_frames - 1) * spec.hop_length / spec.sample_rate
    image = axes.imshow(
        table,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-half, end + half, -0.5, num_bands - 0.5),
        **colours,
    )
    centres = librosa.mel_frequencies(num_bands + 2, fmin=0, fmax=spec.sample_rate / 2, htk=True)[1:-1]
    shown = [f for f in FREQUENCIES if centres[0] <= f <= centres[-1]]
    axes.set_yticks(np.interp(shown, centres, np.arange(num_bands)), [f"{f / 1000:g}" for f in shown])
    axes.set_xlabel("time (s)")
    axes.set_ylabel("frequency (kHz)")
    return image


def _spectrogram_size(log_mel: Tensor, spec: AudioSpec) -> tuple[float, float]:
    seconds = log_mel.shape[-1] * spec.hop_length / spec.sample_rate
    return min(3.4 + 1.8 * seconds, 11.0), 2.8


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu()) if hasattr(values, "detach") else np.asarray(values)
