"""Losses that rise far above their level and stay there: found by medians, which a single odd batch does not move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 100  # steps that the level is taken from, those just before the ones in question
SPREADS = 3.0  # above the level: standard deviations of single steps, by their median absolute deviation
TIMES = {"loss": 2.0, "gradient_norm": 10.0}  # above the level at the least; norms drift by threes in healthy runs
LASTING = 0.75  # share of the steps in question that have to be so high
NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation (Hampel 1974)
LEAST = 1e-12


@dataclass(frozen=True)
class Spike:
    """A figure that rose from `level` to `reached` and stayed there: medians before and since."""

    figure: str
    level: float
    reached: float

    def __str__(self) -> str:
        """In plain words."""
        return f"the {self.figure.replace('_', ' ')} rose from {self.level:.4g} to {self.reached:.4g} and stayed there"


class SpikeWatch:
    """Looks at the loss and the gradient norm of every step, in logarithms: both vary by factors.

    A spike is there once three quarters of the last `patience` steps lie above the level of the `window` steps before
    them, by SPREADS deviations and by the factor in TIMES. So no run has one in its first `window` + patience steps.
    """

    def __init__(self, patience: int, window: int = WINDOW) -> None:
        self.patience, self.window = patience, window
        self.figures: dict[str, list[float]] = {name: [] for name in TIMES}

    def add(self, figures: Mapping[str, float]) -> Spike | None:
        """Take one more step in; the spike that it completes, if any. figures: without those of TIMES nothing is."""
        for name, values in self.figures.items():
            if name in figures:
                values.append(math.log(max(figures[name], LEAST)))
                del values[: -self.window - self.patience]
        return next((spike for name in self.figures if (spike := self._spike(name))), None)

    def _spike(self, name: str) -> Spike | None:
        before, recent = self.figures[name][: -self.patience], self.figures[name][-self.patience :]
        if len(before) < self.window:
            return None
        level = median(before)
        spread = NORMAL_MAD * median(abs(value - level) for value in before)
        threshold = level + max(SPREADS * spread, math.log(TIMES[name]))
        if sum(value > threshold for value in recent) < LASTING * self.patience:
            return None
        return Spike(name, math.exp(level), math.exp(median(recent)))

    def state(self) -> dict[str, Any]:
        """What JSON keeps of it, to the bit."""
        return {name: list(values) for name, values in self.figures.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; from nothing where that is empty."""
        self.figures = {name: list(state.get(name, ())) for name in TIMES}
