"""How like one set of samples is to another, as a set, in any features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.balanced_kernel import balanced_kernel
from synesthete.evaluation.distribution import diversity, frechet, kernel, precision_recall

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 3  # of precision and recall, as Kynkäänniemi et al. 2019


@dataclass(frozen=True)
class Likeness:
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


def compare(real: Tensor, real_labels: Tensor, other: Tensor, labels: Tensor, num_equal: int, seed: int) -> Likeness:
    """Features (m, D) of real samples against those (n, D) of others, each with their labels."""
    first, second = real[:num_equal], other[:num_equal]
    coverage = precision_recall(first, second, k=min(NEIGHBOURS, num_equal - 1))
    distance = kernel(real, other, seed=seed)
    same = torch.equal(real_labels.unique(), labels.unique())
    return Likeness(
        frechet=frechet(first, second),
        kernel=distance.value,
        spread=distance.std,
        balanced=balanced_kernel(real, real_labels, other, labels) if same else math.nan,
        precision=coverage.precision,
        recall=coverage.recall,
        diversity=diversity(other, labels),
    )
