"""How far a signal is from its reference, value by value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SignalDifference", "signal_difference"]


@dataclass(frozen=True)
class SignalDifference:
    """An estimate against its reference, over every value of both.

    mean_absolute, largest: in the values' own unit; mean_square in its square. snr_db: power of the reference over that
    of the error, in dB. pearson: correlation; NaN where one of them is constant.
    """

    mean_absolute: float
    mean_square: float
    largest: float
    snr_db: float
    pearson: float


def signal_difference(reference: Tensor, estimate: Tensor) -> SignalDifference:
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
    return SignalDifference(
        mean_absolute=error.abs().mean().item(),
        mean_square=noise,
        largest=error.abs().max().item(),
        snr_db=snr,
        pearson=(a @ b).item() / norm if norm else math.nan,
    )
