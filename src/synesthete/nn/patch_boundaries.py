"""What tokens cannot do alone: let neighbouring columns agree across the borders of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.nn.blocks import modulate

if TYPE_CHECKING:
    from torch import Tensor

REACH = 2  # columns to either side, in each of two layers


class PatchBoundaryRefiner(nn.Module):
    """A change of the prediction, from its own columns and those of x_t nearby: (B, C, H, W) -> (B, C, H, W).

    A column, all its channels and rows, is one vector; two layers see two columns to either side each. The second
    begins with zeros, so a network begins as it would without. Matrix products alone, which a CPU does faster in bf16
    than convolutions.

    Args:
        num_values: C * H of a column. width: of the layer between. signal_width: of what tells the timestep.
    """

    def __init__(self, num_values: int, width: int, signal_width: int) -> None:
        super().__init__()
        self.into = nn.Linear(2 * num_values * (2 * REACH + 1), width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(signal_width, 2 * width)
        self.out = nn.Linear(width * (2 * REACH + 1), num_values)

    def forward(self, prediction: Tensor, x_t: Tensor, signal: Tensor) -> Tensor:
        """prediction, x_t: (B, C, H, W). signal: (B, signal_width)."""
        both = torch.cat([prediction, x_t.to(prediction.dtype)], dim=1)
        columns = both.flatten(1, 2).transpose(1, 2)  # (B, W, 2 * C * H)
        shift, scale = self.modulation(signal).unsqueeze(1).chunk(2, dim=-1)
        hidden = F.gelu(modulate(self.norm(self.into(nearby(columns))), shift, scale), approximate="tanh")
        return self.out(nearby(hidden)).transpose(1, 2).unflatten(1, prediction.shape[1:3])


def nearby(columns: Tensor) -> Tensor:
    """Each column (B, W, D) with those up to REACH before and behind it, zeros beyond the ends: (B, W, D * 5)."""
    num = columns.shape[1]
    padded = F.pad(columns, (0, 0, REACH, REACH))
    return torch.cat([padded[:, first : first + num] for first in range(2 * REACH + 1)], dim=-1)
