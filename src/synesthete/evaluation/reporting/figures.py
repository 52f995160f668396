"""Diagnostic pictures. Each function returns a matplotlib Figure; `to_png` makes a file's content of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from synesthete.nn.spectrum import mel_edges

if TYPE_CHECKING:
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
TIMESTEP, MSE = "t / T (0 = clean, 1 = noise)", "MSE of x_0 (unit variance)"


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
    image = _spectrogram(axes, log_mel * DECIBELS, spec)
    figure.colorbar(image, ax=axes, label="magnitude (dB)", pad=0.02)
    axes.set_title(title, fontsize=10)
    return figure


def difference_figure(reference: Tensor, estimate: Tensor, spec: AudioSpec, title: str = "") -> Figure:
    """Two log-mels (n_mels, T) above each other, and the signed difference of what is heard: red where it is louder."""
    width, height = _spectrogram_size(reference, spec)
    figure = Figure(figsize=(width, 2.6 * height), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    a, b = (x.clamp(min=QUIETEST) * DECIBELS for x in (reference, estimate))
    for axes, values, name in ((top, a, "real"), (middle, b, "through the codec")):
        image = _spectrogram(axes, values, spec)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("")
    figure.colorbar(image, ax=[top, middle], label="magnitude (dB)", pad=0.02)
    limit = max(6.0, float(np.ceil(np.quantile(np.abs((b - a).numpy(force=True)), 0.995))))
    image = _spectrogram(bottom, b - a, spec, cmap="RdBu_r", vmin=-limit, vmax=limit)
    bottom.set_title("through the codec minus real", fontsize=9)
    figure.colorbar(image, ax=bottom, label="difference (dB)", pad=0.02, extend="both")
    figure.suptitle(title, fontsize=10)
    return figure


def confusion_figure(
    counts: Tensor,
    class_names: Sequence[str],
    title: str = "",
    sides: tuple[str, str] = ("the picture shows", "heard as"),
) -> Figure:
    """Counts (C, C + 1) of `confusion`, of the NUM_CONFUSED classes confused most, shaded by the share of each row."""
    table, rows = counts.numpy(force=True), list(class_names)
    if len(rows) > NUM_CONFUSED:
        table, rows = _most_confused(table, rows)
        title = f"{title}\nthe {len(rows)} most confused of {len(class_names)} classes".strip()
    names = [*rows, *([OTHERS] if len(rows) < len(class_names) else []), "nothing"]
    if not table[:, -1].any():
        table, names = table[:, :-1], names[:-1]
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * len(rows) + 1.6)
    figure = Figure(figsize=(side + 0.9 + 0.2 * (len(names) > len(rows)), side), layout="constrained")
    axes = figure.add_subplot()
    texts = {place: str(table[place]) for place in zip(*np.nonzero(table), strict=True)} if len(rows) <= 25 else {}
    image = draw_matrix(axes, share, texts, rows, names)
    axes.set(xlabel=sides[1], ylabel=sides[0])
    figure.colorbar(image, ax=axes, label="share of the row", pad=0.02, shrink=0.85)
    axes.set_title(title, fontsize=10)
    return figure


def draw_matrix(
    axes: Axes,
    shades: np.ndarray,
    texts: Mapping[tuple[int, int], str],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    text_size: int = 7,
    name_size: int = 8,
    dark: float = 0.5,
    **colours: Any,
) -> Any:
    """Shades (rows, columns) with words in some cells, white where a shade is beyond `dark`; names along two sides."""
    image = axes.imshow(shades, **{"cmap": "Blues", "vmin": 0, "vmax": 1, **colours})
    for (row, column), text in texts.items():
        colour = "white" if abs(shades[row, column]) > dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=text_size, color=colour)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), list(columns), fontsize=name_size, **slanted)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=name_size)
    return image


def _most_confused(table: np.ndarray, class_names: list[str]) -> tuple[np.ndarray, list[str]]:
    """The classes with most mistakes, in their order: counts (c, c + 2) with those of all others in a column."""
    mistakes = table.copy()
    np.fill_diagonal(mistakes, 0)
    number = mistakes.sum(axis=1) + mistakes[:, :-1].sum(axis=0)
    chosen = np.sort(np.argsort(-number, kind="stable")[:NUM_CONFUSED])
    inside, nothing = table[np.ix_(chosen, chosen)], table[chosen, -1:]
    others = table[chosen].sum(axis=1, keepdims=True) - inside.sum(axis=1, keepdims=True) - nothing
    return np.hstack([inside, others, nothing]), [class_names[i] for i in chosen]


def histogram_figure(sets: Mapping[str, Any], edges: Sequence[float], xlabel: str, title: str = "") -> Figure:
    """How large a share of each set (n,) lies between two edges."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, values), colour in zip(sets.items(), COLOURS, strict=False):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, list(edges), weights=weights, color=colour, alpha=0.55, label=f"{name} (n = {len(values)})")
    axes.set(xlabel=xlabel, ylabel="share")
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=10)
    return figure


def pitch_figure(generated: Tensor, real: Tensor, title: str = "") -> Figure:
    """How often each median pitch (n,), in semitones over 100 Hz, is spoken and is real; NaN has no pitch."""
    both = {name: v[v.isfinite()].numpy(force=True) for name, v in (("generated", generated), ("real voices", real))}
    everything = np.concatenate(list(both.values()))
    low, high = (np.floor(everything.min()), np.ceil(everything.max())) if len(everything) else (0, 1)
    figure = histogram_figure(both, np.arange(low, high + 2).tolist(), "median pitch (Hz)", title)
    shown = [hertz for hertz in (80, 100, 125, 160, 200, 250, 320, 400) if low <= 12 * np.log2(hertz / 100) <= high]
    figure.axes[0].set_xticks([12 * np.log2(hertz / 100) for hertz in shown], [str(hertz) for hertz in shown])
    return figure


@dataclass(frozen=True)
class Panel:
    """One pair of axes. x: (points,). curves: name -> (points,), or (3, points): value and its 95% interval.

    floors: as curves, or one number for all points, dotted and grey: what to compare with; a name that begins with _ is
    not in the legend. ceilings: a number for some of the curves. mark: the x of the model's default. ticks: what is
    written at which x. least, most: of y, as far as the data do not decide.
    """

    title: str
    xlabel: str
    ylabel: str
    x: Sequence[float]
    curves: Mapping[str, Any]
    floors: Mapping[str, Any] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    mark: float | None = None
    ticks: Mapping[float, str] | None = None
    log_x: bool = False
    log_y: bool = False
    least: float | None = None
    most: float | None = None


def curves_figure(panels: Sequence[Panel], *, legend_below: bool = False) -> Figure:
    """The panels in a row."""
    figure = Figure(figsize=(5.2 * len(panels), 3.8 + legend_below), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (name, curve), colour, marker in zip(panel.curves.items(), COLOURS, "os^D", strict=False):
            middle, *interval = np.atleast_2d(curve)
            axes.plot(panel.x, middle, marker=marker, markersize=3.5, linewidth=1.4, color=colour, label=name)
            if interval:
                axes.fill_between(panel.x, *interval, color=colour, alpha=0.15, linewidth=0)
            if name in panel.ceilings:
                ceiling = panel.ceilings[name]
                label = f"ceiling, {name} ({ceiling:.3f})"
                axes.axhline(ceiling, color=colour, linestyle="--", linewidth=1, label=label)
        for name, values in panel.floors.items():
            dotted: dict[str, Any] = {"color": "0.4", "linestyle": ":", "linewidth": 1.2, "label": name}
            axes.plot(panel.x, values, **dotted) if np.ndim(values) else axes.axhline(values, **dotted)
        if panel.mark is not None:
            axes.axvline(panel.mark, color="0.85", linewidth=6, zorder=0, label="the model's default")
        if panel.log_x:
            axes.set_xscale("log", base=2)
        if panel.log_y:
            axes.set_yscale("log")
        if panel.ticks is not None:
            axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
            axes.minorticks_off()
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, ylim=(panel.least, panel.most))
        axes.grid(alpha=0.25)
        if not legend_below:
            axes.legend(fontsize=8, frameon=False)
        axes.set_title(panel.title, fontsize=10)
    if legend_below:
        figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
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
    shown = {name: np.transpose(points) for name, points in curves.items()}
    beside, ticks = ({f"chance ({chance:.3f})": chance}, ceilings), {scale: f"{scale:g}" for scale in guidance}
    told = title, "guidance scale (1 = off)", measure, guidance, shown, *beside
    return curves_figure([Panel(*told, mark=default, ticks=ticks, least=-0.02, most=1.04)], legend_below=True)


def timestep_figure(
    fractions: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    floor: float | None = None,
    guess: str = "the mean clip",
) -> Figure:
    """Mean square error in x_0 space against the way to noise, a curve a condition; floor: the error of `guess`."""
    floors = {} if floor is None else {f"no network: {guess} ({floor:.3g})": floor}
    return curves_figure([Panel(title, TIMESTEP, MSE, fractions, curves, floors, least=0)])


def _spectrogram(axes: Axes, values: Tensor, spec: AudioSpec, **colours: Any) -> Any:
    """Values (n_mels, T) with seconds and kHz along the sides; in magnitudes' colours where none are given."""
    table = values.numpy(force=True)
    num_bands, num_frames = table.shape
    half, end = (frames * spec.hop_length / spec.sample_rate for frames in (0.5, num_frames - 1))
    shown = colours or {"cmap": "magma", "vmin": QUIETEST * DECIBELS, "vmax": LOUDEST * DECIBELS}
    extent = (-half, end + half, -0.5, num_bands - 0.5)
    image = axes.imshow(table, origin="lower", aspect="auto", interpolation="nearest", extent=extent, **shown)
    centres = mel_edges(spec.sample_rate, num_bands)[1:-1]
    marked = [f for f in FREQUENCIES if centres[0] <= f <= centres[-1]]
    axes.set_yticks(np.interp(marked, centres, np.arange(num_bands)), [f"{f / 1000:g}" for f in marked])
    axes.set(xlabel="time (s)", ylabel="frequency (kHz)")
    return image


def _spectrogram_size(log_mel: Tensor, spec: AudioSpec) -> tuple[float, float]:
    return min(3.4 + 1.8 * log_mel.shape[-1] * spec.hop_length / spec.sample_rate, 11.0), 2.8
