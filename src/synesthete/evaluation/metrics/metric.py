"""A figure with what it is to be read against, the row of a table that says what kind it is, and shares of answers."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.io import tab_separated
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.evaluation.metrics.set_comparison import SampleSet

__all__ = ["Metric", "MetricRow", "accuracy", "confusion", "interval", "metric", "register_metric"]


@dataclass(frozen=True)
class Metric:
    """A figure with what it is to be read against.

    title: says the classifier and n. interval: 95%. chance: by guessing. shuffled: with the conditions of other
    samples. ceiling: of real data. key: the same in every report, whatever n, so that figures of two reports can be
    joined. unit: "share" is from 0 to 1, "" has none. higher_is_better: None where neither is.
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

    depends_on_num: whether its expectation does, so that only figures of equal n can be compared. compute: its value by
    sets alone, (real, made) -> float, which every evaluation then asks for; None where it takes more than sets.
    """

    key: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    compute: Callable[[SampleSet, SampleSet], float] | None = None
    depends_on_num: bool = False


def by_key(metrics: Sequence[Metric], key: str) -> Metric:
    """The metric of that key."""
    found = {metric.key: metric for metric in reversed(metrics)}
    if key in found:
        return found[key]
    near = difflib.get_close_matches(key, found, n=3, cutoff=0.3) or [metric.key for metric in metrics]
    raise InputError(f"no metric '{key}'; there are: {', '.join(near) or 'there are none'}")


METRICS: dict[str, MetricRow] = {
    key: MetricRow(key, title, unit, {"higher": True, "lower": False}.get(better), depends_on_num=bool(depends))
    for key, unit, better, depends, title in tab_separated(Path(__file__).with_name("metrics.tsv"))
}


def register_metric(row: MetricRow) -> MetricRow:
    """Add a row; one with `compute` is then part of every evaluation that compares sets of samples.

    Raises:
        InputError: its key is taken, or is no lower-case name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", row.key):
        raise InputError(f"metric key '{row.key}'; give lower-case letters, digits and _")
    if METRICS.setdefault(row.key, row) != row:
        raise InputError(f"metric '{row.key}' is already there ({METRICS[row.key].title}); give another key")
    return row


def metric(
    key: str,
    value: float,
    interval: tuple[float, float] | None = None,
    chance: float | None = None,
    shuffled: float | None = None,
    ceiling: float | None = None,
    *,
    variant: str = "",
    **title: Any,
) -> Metric:
    """A metric of the row `key`.

    variant: what sets it apart from others of the same row in one report (a classifier, a timestep); part of its key.
    title: what the places in the row's title say, for example classifier and num.

    Raises:
        InputError: no such row. KeyError: a place in its title that nothing is said for.
    """
    if key not in METRICS:
        raise InputError(f"no metric '{key}'; register it with register_metric, or use one of {', '.join(METRICS)}")
    row = METRICS[key]
    full_key = f"{key}_{slug(variant)}" if variant else key
    name = row.title.format(**title)
    return Metric(name, value, interval, chance, shuffled, ceiling, full_key, row.unit, row.higher_is_better)


def slug(text: str) -> str:
    """The text as part of a key: lower-case letters and digits, joined by _."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # on the square of the weights, half of it, beside the mean loss
NUM_ITERATIONS = 1000
Z_95 = 1.959964  # of the normal distribution, two-sided


def interval(value: float, num: int) -> tuple[float, float]:
    """95% interval of a share `value` of `num` independent answers (Wilson 1927), which is sound at 0 and 1 too."""
    # Not scipy's: it counts whole answers, and a share of sounds painted several times each is of none.
    if num < 1:
        return 0.0, 1.0
    centre = (value + Z_95**2 / (2 * num)) / (1 + Z_95**2 / num)
    half = Z_95 / (1 + Z_95**2 / num) * math.sqrt(value * (1 - value) / num + Z_95**2 / (4 * num**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_of_mean(values: Tensor) -> tuple[float, float]:
    """95% interval of the mean of (n,) independent values, by the normal approximation."""
    values = values.double()
    half = Z_95 * values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    mean = values.mean().item()
    return mean - half, mean + half


def accuracy(true: Tensor, predicted: Tensor) -> float:
    """Share of (n,) answers that are right; an answer of -1 (none) is wrong."""
    return (true == predicted).double().mean().item()


def accuracy_metric(
    key: str,
    true: Tensor,
    answers: Tensor,
    chance: float,
    shuffled: Tensor | None = None,
    ceiling: float | None = None,
    *,
    independent: int | None = None,
    **title: Any,
) -> Metric:
    """Share of answers (n,) that are right, as a metric of the row `key`.

    shuffled: (n,) classes of other samples. independent: how many answers are; all where None. title: as of `metric`.
    """
    share = accuracy(true, answers)
    wrong = None if shuffled is None else accuracy(shuffled, answers)
    spread = interval(share, len(answers) if independent is None else independent)
    return metric(key, share, spread, chance, wrong, ceiling, **{"num": len(answers)} | title)


def per_class(labels: Tensor, answers: Tensor, num_classes: int) -> list[float]:
    """Share right of each class; NaN where it has no sample."""
    return [accuracy(labels[labels == i], answers[labels == i]) for i in range(num_classes)]


def confusion(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """How often each class (rows) was taken for each, and in the last column for none (-1): (C, C + 1) int64."""
    column = predicted.where(predicted >= 0, torch.full_like(predicted, num_classes))
    places = true * (num_classes + 1) + column
    return torch.bincount(places, minlength=num_classes * (num_classes + 1)).view(num_classes, num_classes + 1)


@dataclass(frozen=True)
class LinearProbe:
    """A fitted classifier of scikit-learn, of features (n, D) standardised by `mean` and `scale`."""

    mean: Tensor
    scale: Tensor
    regression: Any

    def classify(self, features: Tensor) -> Tensor:
        """The most likely class (n,)."""
        return torch.from_numpy(self.regression.predict(((features - self.mean) / self.scale).double().numpy()))


def fit_linear_probe(features: Tensor, labels: Tensor, seed: int = 0) -> LinearProbe:
    """A probe on features (n, D) of classes `labels` (n,); the penalty is the best of PENALTIES on a fifth held out."""
    order = torch.randperm(len(labels), generator=seeding.generator(seed, "probe"))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    tried = [_fit(features[kept], labels[kept], penalty) for penalty in PENALTIES]
    right = [accuracy(labels[held_out], probe.classify(features[held_out])) for probe in tried]
    return _fit(features, labels, PENALTIES[right.index(max(right))])


def _fit(features: Tensor, labels: Tensor, penalty: float) -> LinearProbe:
    # Imported here: it takes half a second, and most evaluations fit no probe.
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x, y = ((features - mean) / scale).double().numpy(), labels.numpy()
    several = len(labels.unique()) > 1  # of one class there is nothing to tell, which scikit-learn refuses
    regression = LogisticRegression(C=1 / (penalty * len(y)), max_iter=NUM_ITERATIONS) if several else DummyClassifier()
    return LinearProbe(mean, scale, regression.fit(x, y))
