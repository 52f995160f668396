"""Curves with their uncertainty, in panels beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from synesthete.evaluation.metrics.metric import Z_95
from synesthete.evaluation.reporting.figures import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

TIMESTEP = "t / T (0 = clean, 1 = noise)"


@dataclass(frozen=True)
class Panel:
    """One pair of axes. x: (points,). curves: name -> (points,), or (3, points): value and its 95% interval.

    floors: as curves, dotted and grey: what to compare with; a name that begins with _ is not in the legend.
    """

    title: str
    xlabel: str
    ylabel: str
    x: Sequence[float]
    curves: Mapping[str, Tensor]
    floors: Mapping[str, Tensor]
    log_x: bool = False
    log_y: bool = False
    ticks: Mapping[float, str] | None = None


def curves_figure(panels: Sequence[Panel]) -> Figure:
    """The panels in a row."""
    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (name, values), colour, marker in zip(panel.curves.items(), COLOURS, "os^D", strict=False):
            middle = values[0] if values.ndim == 2 else values
            axes.plot(panel.x, middle, marker=marker, markersize=3.5, linewidth=1.4, color=colour, label=name)
            if values.ndim == 2:
                axes.fill_between(panel.x, values[1], values[2], color=colour, alpha=0.15, linewidth=0)
        for name, values in panel.floors.items():
            axes.plot(panel.x, values, color="0.4", linestyle=":", linewidth=1.2, label=name)
        if panel.log_x:
            axes.set_xscale("log", base=2)
        if panel.log_y:
            axes.set_yscale("log")
        if panel.ticks is not None:
            axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
            axes.minorticks_off()
        axes.set_xlabel(panel.xlabel)
        axes.set_ylabel(panel.ylabel)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
        axes.set_title(panel.title, fontsize=10)
    return figure


def with_interval(values: Tensor) -> Tensor:
    """(points, n) -> (3, points): the mean over n independent values, and its 95% interval by the normal law."""
    values = values.double()
    mean = values.mean(dim=1)
    half = Z_95 * standard_error(values)
    return torch.stack([mean, mean - half, mean + half])


def standard_error(values: Tensor) -> Tensor:
    """(..., n) -> (...,): of the mean of n independent values; infinite for one."""
    num = values.shape[-1]
    if num < 2:
        return torch.full(values.shape[:-1], math.inf, dtype=torch.float64)
    return values.double().std(dim=-1) / math.sqrt(num)
