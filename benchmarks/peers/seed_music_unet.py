"""The network of the music experiment (MA_DDPM's Conv_U_NET), its layout rebuilt from facts about it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

FILTERS = 32  # of the version whose parameters were counted: 17,288,545
TIME_WIDTH = 128
MIDDLE = 480  # not told: chosen so that the parameters come within 1% of the count


class DoubleConvolution(nn.Module):
    """Two 3x3 convolutions with group norm over 8 groups, beside a shortcut where asked for."""

    def __init__(self, channels_in: int, channels: int, middle: int | None = None, *, residual: bool = False) -> None:
        super().__init__()
        middle = middle or channels
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, middle, 3, padding=1, bias=False),
            nn.GroupNorm(8, middle),
            nn.GELU(),
            nn.Conv2d(middle, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H, W)."""
        return F.gelu(x + self.layers(x)) if self.residual else self.layers(x)


class Down(nn.Module):
    """Half the grid by maximum pooling, twice the channels, told the time by a linear layer."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.MaxPool2d(2),
            DoubleConvolution(channels_in, channels_in, residual=True),
            DoubleConvolution(channels_in, channels),
        )
        self.time = nn.Linear(TIME_WIDTH, channels)
        self.after = DoubleConvolution(channels, channels, residual=True)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, channels_in, H, W), (B, TIME_WIDTH) -> (B, channels, H / 2, W / 2)."""
        return self.after(self.layers(x) + self.time(F.silu(time))[..., None, None])


class Up(nn.Module):
    """Twice the grid by bilinear interpolation, joined to what came down, told the time by a linear layer."""

    def __init__(self, channels_in: int, skipped: int, channels: int) -> None:
        super().__init__()
        both = channels_in + skipped
        self.layers = nn.Sequential(
            DoubleConvolution(both, both, residual=True), DoubleConvolution(both, channels, both // 2)
        )
        self.time = nn.Linear(TIME_WIDTH, channels)
        self.after = DoubleConvolution(channels, channels, residual=True)

    def forward(self, x: Tensor, skip: Tensor, time: Tensor) -> Tensor:
        """(B, channels_in, H, W), (B, skipped, 2 H, 2 W) -> (B, channels, 2 H, 2 W)."""
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
        return self.after(self.layers(torch.cat([skip, x], dim=1)) + self.time(F.silu(time))[..., None, None])


class SeedMusicUNet(nn.Module):
    """(B, 1, 224, 416) and timesteps (B,) -> noise (B, 1, 224, 416): three levels down and up."""

    def __init__(self, filters: int = FILTERS, middle: int = MIDDLE) -> None:
        super().__init__()
        widths = [filters, 2 * filters, 4 * filters, 8 * filters]
        self.enter = nn.Conv2d(1, filters, 3, padding=1)
        self.down = nn.ModuleList(Down(a, b) for a, b in itertools.pairwise(widths))
        self.middle = nn.Sequential(
            DoubleConvolution(widths[3], middle),
            DoubleConvolution(middle, middle),
            DoubleConvolution(middle, widths[3]),
        )
        outs = [widths[2], widths[1], widths[0]]
        ins = [widths[3], *outs[:2]]
        self.up = nn.ModuleList(Up(i, s, o) for i, s, o in zip(ins, widths[2::-1], outs, strict=True))
        self.leave = nn.Conv2d(2 * filters, 1, 1)  # the outer skip joined once more

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """As the class says."""
        frequencies = 10_000 ** (-torch.arange(0, TIME_WIDTH, 2, device=x_t.device) / TIME_WIDTH)
        angles = timestep.float()[:, None] * frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=1)
        x = outer = self.enter(x_t)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x, time)
        x = self.middle(x)
        for up in self.up:
            x = up(x, skips.pop(), time)
        return self.leave(torch.cat([x, outer], dim=1))
