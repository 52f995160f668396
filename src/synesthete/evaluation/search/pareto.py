"""Quality against cost: what nothing else beats in both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from synesthete.evaluation.reporting.figures import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.search.measurements import Aggregate


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Places of the points that no other point beats: none costs no more and loses no more, and one of them less.

    In order of rising cost; of equal points the first.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], losses[i], i))
    found: list[int] = []
    for place in order:
        if not found or losses[place] < losses[found[-1]]:
            found.append(place)
    return found


def pareto_figure(
    aggregates: Sequence[Aggregate],
    line: Sequence[Aggregate],
    figure_of_merit: str,
    winner: Aggregate,
    default: Aggregate,
    budget: float,
    kept: Sequence[Aggregate],
) -> Figure:
    """Every settings tried, over the seconds that a picture takes.

    figure_of_merit: "kid" or "accuracy", up the side. line: the front. kept: those that the front may be made of; the
    others (few pictures, or accuracy lost) are drawn hollow. The area of a point grows with its pictures.
    """
    figure = Figure(figsize=(8.0, 5.2), layout="constrained")
    axes = figure.add_subplot()
    own = {aggregate.name for aggregate in kept}
    solid = [s for s in aggregates if s.name in own]
    hollow = [s for s in aggregates if s.name not in own]
    axes.scatter(*_places(hollow, figure_of_merit), s=_areas(hollow), facecolors="none", edgecolors="0.65")
    other = [s.accuracy if figure_of_merit == "kid" else s.kid for s in solid]
    shades: dict[str, Any] = {"color": COLOURS[0]}
    if np.isfinite(other).any():
        shades = {"c": other, "cmap": "viridis" if figure_of_merit == "kid" else "viridis_r"}
    drawn = axes.scatter(*_places(solid, figure_of_merit), s=_areas(solid), edgecolors="0.3", linewidths=0.5, **shades)
    if "c" in shades:
        figure.colorbar(drawn, ax=axes, label="accuracy" if figure_of_merit == "kid" else "KID", pad=0.02)
    axes.plot(*_places(line, figure_of_merit), color=COLOURS[0], linewidth=1.4, label="front: nothing beats these")
    for aggregate, marker, colour, name in ((default, "s", "black", "default"), (winner, "*", COLOURS[1], "winner")):
        axes.scatter(
            *_places([aggregate], figure_of_merit),
            s=230 if marker == "*" else 110,
            marker=marker,
            facecolors="none" if marker == "s" else colour,
            edgecolors=colour,
            linewidths=1.6,
            zorder=4,
            label=f"{name}: {aggregate.name}",
        )
    axes.axvline(budget, color=COLOURS[2], linestyle="--", linewidth=1, label=f"budget: {budget:g} s")
    floor = max((s.kid_floor for s in aggregates if math.isfinite(s.kid_floor)), default=0.0)
    if figure_of_merit == "kid":
        if floor:
            axes.axhline(floor, color="0.4", linestyle=":", linewidth=1.2, label=f"real against real ({floor:.2g})")
        # Below the floor a KID is noise around 0 and may be negative, which no logarithm takes.
        linear = floor or 1e-3
        axes.set_yscale("symlog", linthresh=linear)
        # Between the two logarithms there is room for 0 alone.
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if not 0 < abs(value) < linear else "")
        )
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per picture")
    axes.set_ylabel("KID (lower is better)" if figure_of_merit == "kid" else "accuracy (higher is better)")
    axes.grid(alpha=0.25, which="both")
    figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _places(aggregates: Sequence[Aggregate], figure_of_merit: str) -> tuple[list[float], list[float]]:
    return [s.seconds_per_picture for s in aggregates], [getattr(s, figure_of_merit) for s in aggregates]


def _areas(aggregates: Sequence[Aggregate]) -> np.ndarray:
    return 6 + 1.2 * np.sqrt(np.array([s.num for s in aggregates], dtype=float)) ** 1.2
