"""What sounds are aligned with before any diffusion: a small encoder of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from synesthete.nn.blocks import ResidualConv

if TYPE_CHECKING:
    import torch

SMALLEST = 4  # the side that halving stops at


class PictureEncoder(nn.Module):
    """x_0 (B, C, H, W) -> (B, width): convolutions that halve the picture down to 4 pixels, then the mean of these."""

    def __init__(self, shape: tuple[int, int, int], width: int, hidden: int) -> None:
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        levels: list[nn.Module] = []
        below = max(hidden // 8, 8)
        while side > SMALLEST:
            levels += [nn.Conv2d(channels, below, 3, 2, 1), nn.GELU(), ResidualConv(below)]
            channels, side, below = below, -(-side // 2), min(2 * below, hidden)
        self.levels = nn.Sequential(*levels)
        self.norm = nn.LayerNorm(channels)
        self.mix, self.out = nn.Linear(channels, hidden), nn.Linear(hidden, width)
        self.activation = nn.GELU()

    def forward(self, x_0: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, width)."""
        features = self.norm(self.levels(x_0).mean(dim=(2, 3)))  # (B, channels)
        return self.out(self.activation(self.mix(features)))
