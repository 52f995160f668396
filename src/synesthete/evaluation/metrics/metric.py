"""A figure with what it is to be read against, and the row of a table that says what kind of figure it is."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.evaluation.metrics.set_metrics import SampleSet


@dataclass(frozen=True)
class Metric:
    """A figure with what it is to be read against.

    title: says the judge and n. interval: 95%. chance: by guessing. shuffled: with the conditions of other samples.
    ceiling: of real data. key: the same in every report, whatever n, so that figures of two reports can be joined.
    unit: "share" is from 0 to 1, "" has none. higher_is_better: None where neither is.
    """

    title: str
    value: float
    interval: tuple[float, float] | None = None
    chance: float | None = None
    shuffled: float | None = None
    ceiling: float | None = None
    key: str = ""
    unit: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class MetricRow:
    """A kind of figure: its key, the title with places for what differs, unit, and which way is better.

    depends_on_num: whether its expectation does, so that only figures of equal n can be compared.
    compute: value of a set of samples beside real ones, (real, made) -> float, for what every evaluation computes by
    itself, of what was made, of chance and of real samples; None where an evaluation knows more than sets.
    """

    key: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    compute: Callable[[SampleSet, SampleSet], float] | None = None
    depends_on_num: bool = False


def by_key(metrics: Sequence[Metric], key: str) -> Metric:
    """The metric of that key.

    Raises:
        InputError: there is none; it names the nearest ones.
    """
    for metric in metrics:
        if metric.key == key:
            return metric
    keys = [metric.key for metric in metrics]
    near = ", ".join(difflib.get_close_matches(key, keys, n=3, cutoff=0.3)) or ", ".join(keys) or "there are none"
    raise InputError(f"no metric '{key}'; there are: {near}")
