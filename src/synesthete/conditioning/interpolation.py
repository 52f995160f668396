"""From one vector to another along the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

NEARLY_ALIKE = 1e-4  # radians, below which an arc is a line; opposite vectors have no shortest arc either


def slerp(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Vectors (n, E) on the arc from `first` to `second`, each (E,), at `shares` (n,) of the way; lengths on a line.

    Source: Shoemake 1985, section 3.3.
    """
    shares = shares.unsqueeze(1).to(first)
    lengths = torch.lerp(first.norm(), second.norm(), shares)
    a, b = (F.normalize(vector, dim=0) for vector in (first, second))
    angle = torch.atan2((a - b).norm(), (a + b).norm()) * 2
    if angle.sin().abs() < NEARLY_ALIKE:
        return torch.lerp(first, second, shares)
    arc = (torch.sin((1 - shares) * angle) * a + torch.sin(shares * angle) * b) / angle.sin()
    return lengths * arc
