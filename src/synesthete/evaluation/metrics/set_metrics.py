"""How like one set of samples is to another, as a set, in any features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.metrics.balanced_kernel import balanced_kernel
from synesthete.evaluation.metrics.distribution import diversity, frechet, kernel, precision_recall
from synesthete.evaluation.metrics.table import METRICS, metric

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric

NEIGHBOURS = 3  # of precision and recall, as Kynkäänniemi et al. 2019


@dataclass(frozen=True)
class SampleSet:
    """Samples (n, ...) as a system makes them, with their labels (n,) and features (n, D)."""

    samples: Any
    labels: Tensor
    features: Tensor


@dataclass(frozen=True)
class SetMetrics:
    """A set of samples against real held-out ones, in features.

    frechet, precision, recall: at equal numbers of both. kernel, spread: the kernel distance and its deviation over
    subsets. balanced: the kernel distance with every class of equal weight, whatever its share; NaN where the sets have
    other classes. diversity: mean distance within a class.
    """

    frechet: float
    kernel: float
    spread: float
    balanced: float
    precision: float
    recall: float
    diversity: float


def compare(real: Tensor, real_labels: Tensor, other: Tensor, labels: Tensor, num_equal: int, seed: int) -> SetMetrics:
    """Features (m, D) of real samples against those (n, D) of others, each with their labels."""
    first, second = real[:num_equal], other[:num_equal]
    coverage = precision_recall(first, second, k=min(NEIGHBOURS, num_equal - 1))
    distance = kernel(real, other, seed=seed)
    same = torch.equal(real_labels.unique(), labels.unique())
    return SetMetrics(
        frechet=frechet(first, second),
        kernel=distance.value,
        spread=distance.std,
        balanced=balanced_kernel(real, real_labels, other, labels) if same else math.nan,
        precision=coverage.precision,
        recall=coverage.recall,
        diversity=diversity(other, labels),
    )


def registered_metrics(
    held_out: SampleSet, made: SampleSet, *, real: SampleSet, worst: SampleSet, against: str
) -> list[Metric]:
    """The metrics that were registered with a `compute`: of what was made, of other real samples, and of chance.

    Each beside held-out samples. against: the features and n, for the titles.
    """
    return [
        metric(
            key,
            row.compute(held_out, made),
            chance=row.compute(held_out, worst),
            ceiling=row.compute(held_out, real),
            against=against,
        )
        for key, row in METRICS.items()
        if row.compute is not None
    ]
