"""The kernel distance of sets that were made with equally many samples of each class.

The usual estimate takes the samples for independent draws. In a set with equally many of each class two of them are
less often of one class than a sample of one set and one of the other, and real samples score below 0 against real
ones: with the built-in digits by twice the floor. Here each pair of classes counts as it does in the mixture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from synesthete import seeding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

ROWS = 1024  # at once: a block of similarities is at most 8 MB
MAX_SPLIT = 2000  # real samples that the floor is estimated on
NUM_SPLITS = 100


def balanced_kernel(real: Tensor, real_labels: Tensor, made: Tensor, made_labels: Tensor) -> float:
    """Squared maximum mean discrepancy of the mixtures of all classes, each of equal weight, under (x'y / D + 1)^3.

    Features (m, D) and (n, D) with labels (m,) and (n,); one label for all is the usual estimate. Unbiased (Bińkowski
    et al. 2018, section 3, with each class a stratum), but for a class of one sample, whose other samples are taken
    to be as alike as those of the other classes; NaN where every class has one.
    """
    weights, others = _weights(real_labels), _weights(made_labels)
    within = _within(real, real_labels, weights) + _within(made, made_labels, others)
    across = sum((weights[rows] @ block @ others).item() for rows, block in _blocks(real, made))
    return within - 2 * across


def balanced_floor(real: Tensor, labels: Tensor, n: int, *, num_splits: int = NUM_SPLITS, seed: int = 0) -> float:
    """How far `balanced_kernel` strays from 0 where n made samples are as good as real ones.

    The root mean square of the same estimate between disjoint random halves of each class of real samples (at most
    MAX_SPLIT in all), carried over from the halves' size to `len(real)` against n as `distribution.kernel_floor` does.
    NaN where a class has fewer than four.
    """
    classes = labels.unique()
    num = min(MAX_SPLIT // len(classes), int(torch.bincount(labels)[classes].min()))
    half = num // 2
    if half < 2:
        return math.nan
    generator = seeding.generator(seed, "balanced floor")
    squares = []
    places = torch.stack([_order(labels == label, generator)[:num] for label in classes])  # (K, num)
    x = real[places.flatten()].double()
    similarity = (x @ x.T / x.shape[1] + 1) ** 3
    own = torch.arange(len(classes)).repeat_interleave(half)
    for _ in range(num_splits):
        order = torch.rand(len(classes), num, generator=generator).argsort(dim=1)
        order = order + num * torch.arange(len(classes))[:, None]
        first, second = order[:, :half].flatten(), order[:, half : 2 * half].flatten()
        within = sum(_balanced_mean(similarity[part][:, part], own) for part in (first, second))
        squares.append((within - 2 * similarity[first][:, second].mean().item()) ** 2)
    size = half * len(classes)
    return math.sqrt(sum(squares) / num_splits) * (1 / len(real) + 1 / n) / (2 / size)


def _weights(labels: Tensor) -> Tensor:
    """Weight (n,) float64 of each sample in a mixture of its classes; they sum to one."""
    _, places, counts = labels.unique(return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[places].double())


def _within(x: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Mean similarity of two different samples of a set."""
    total = sum((weights[rows] @ block @ weights).item() for rows, block in _blocks(x, x))
    alike = []
    for label in labels.unique():
        own = x[labels == label]
        every = sum(block.sum().item() for _, block in _blocks(own, own))
        itself = ((own.double().square().sum(dim=1) / x.shape[1] + 1) ** 3).sum().item()
        # The mean over all pairs of the class, itself included, gives way to that over different ones.
        total -= every / len(own) ** 2 / len(labels.unique()) ** 2
        if len(own) > 1:
            alike.append((every - itself) / (len(own) * (len(own) - 1)))
    return total + sum(alike) / len(alike) / len(labels.unique()) if alike else math.nan


def _balanced_mean(similarity: Tensor, labels: Tensor) -> float:
    """As `_within`, from the similarities (n, n) of as many samples of each class."""
    same = labels[:, None] == labels
    num, num_classes = len(labels), int(labels.max()) + 1
    of_class, itself = similarity[same].sum().item(), similarity.diagonal().sum().item()
    size = num // num_classes
    other = (similarity.sum().item() - of_class) / num**2
    return other + (of_class - itself) / (num_classes**2 * size * (size - 1))


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of x and their similarities (rows, m) float64 to all of y."""
    for first in range(0, len(x), ROWS):
        rows = slice(first, first + ROWS)
        yield rows, (x[rows].double() @ y.double().T / x.shape[1] + 1) ** 3


def _order(mask: Tensor, generator: torch.Generator) -> Tensor:
    """The places where the mask is set, in a random order."""
    places = mask.nonzero().flatten()
    return places[torch.randperm(len(places), generator=generator)]
