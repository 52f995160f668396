"""95% intervals of a share and of a mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

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
