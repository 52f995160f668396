"""Numbers and places as vectors."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.types import InputError


def sinusoid(position: torch.Tensor, width: int, longest: float = 10_000.0) -> torch.Tensor:
    """Sines and cosines of geometrically spaced frequencies, (...) -> (..., width) (Vaswani et al. 2017, 3.5)."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=position.device) / half)
    angle = position.float()[..., None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def grid_positions(rows: int, columns: int, width: int) -> torch.Tensor:
    """A fixed table for a grid of tokens, row-major, (rows * columns, width): half for the row, half for the column.

    Raises:
        InputError: a width that does not divide into sines and cosines of both.
    """
    if width % 4:
        raise InputError(f"width {width}: places are told in sines and cosines of two axes; give a multiple of 4")
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([sinusoid(row, width // 2), sinusoid(column, width - width // 2)], dim=-1).flatten(0, 1)


class TimestepEmbedding(nn.Module):
    """A timestep in 0..1000 as a vector: sinusoid, then two linear layers."""

    def __init__(self, width: int, num_frequencies: int = 256) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.linear_in, self.linear_out = nn.Linear(num_frequencies, width), nn.Linear(width, width)

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, width)."""
        frequencies = sinusoid(timestep, self.num_frequencies).to(self.linear_in.weight.dtype)
        return self.linear_out(F.silu(self.linear_in(frequencies)))
