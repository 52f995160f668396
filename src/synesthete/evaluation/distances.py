"""How far apart two spectrograms or sounds are, and how often an answer is right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

Z_95 = 1.959964  # of the normal distribution, two-sided


@dataclass(frozen=True)
class Difference:
    """An estimate against its reference, over every value of both.

    mean_absolute, largest: in the values' own unit; mean_square in its square. snr_db: power of the reference over that
    of the error, in dB. pearson: correlation; NaN where one of them is constant.
    """

    mean_absolute: float
    mean_square: float
    largest: float
    snr_db: float
    pearson: float


def difference(reference: Tensor, estimate: Tensor) -> Difference:
    """The figures of a round trip; both of one shape.

    Raises:
        InputError: other shapes, or no values.
    """
    if reference.shape != estimate.shape or not reference.numel():
        raise InputError(f"cannot compare {tuple(reference.shape)} with {tuple(estimate.shape)}; give equal shapes")
    a, b = reference.double().flatten(), estimate.double().flatten()
    error = b - a
    power, noise = a.square().mean().item(), error.square().mean().item()
    snr = math.inf if noise == 0 else 10 * math.log10(power / noise) if power else -math.inf
    a, b = a - a.mean(), b - b.mean()
    norm = (a.norm() * b.norm()).item()
    return Difference(
        mean_absolute=error.abs().mean().item(),
        mean_square=noise,
        largest=error.abs().max().item(),
        snr_db=snr,
        pearson=(a @ b).item() / norm if norm else math.nan,
    )


def accuracy(true: Tensor, predicted: Tensor) -> float:
    """Share of (n,) answers that are right; an answer of -1 (none) is wrong."""
    return (true == predicted).double().mean().item()


def per_class(labels: Tensor, answers: Tensor, num_classes: int) -> list[float]:
    """Share right of each class; NaN where it has no sample."""
    return [accuracy(labels[labels == i], answers[labels == i]) for i in range(num_classes)]


def confusion(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """How often each class was taken for each: (num_classes, num_classes + 1) int64.

    Row: what it was. Column: what it was taken for; the last one counts answers of -1 (none).
    """
    column = predicted.where(predicted >= 0, torch.full_like(predicted, num_classes))
    places = true * (num_classes + 1) + column
    return torch.bincount(places, minlength=num_classes * (num_classes + 1)).view(num_classes, num_classes + 1)


def interval(value: float, num: int) -> tuple[float, float]:
    """95% interval of a share `value` of `num` independent answers (Wilson 1927), which is sound at 0 and 1 too."""
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
