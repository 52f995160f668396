"""A small convolutional network that looks at small pictures."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.conditioning.image_conditioner import ImageConditioner
from synesthete.nn.blocks import ResidualConv
from synesthete.nn.embeddings import grid_positions
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from torch import Tensor


NUM_REGIONS = 8  # a side, of what the pooled vector reads


class PictureStem(ImageConditioner):
    """Pictures (B, C, size, size) uint8 -> a grid of tokens and a pooled vector.

    Each stage halves the picture; the grid of the last stage, row by row, gives the tokens. The pooled vector is read
    from all places of the grid (of 8 x 8 regions where it is larger), not from their mean: where a stroke is decides
    which digit it belongs to. The null is one learned token a place and one learned pooled vector.

    Args:
        size: side of the square picture, in pixels. channels: 1 reads grey, 3 colour.
        widths: channels of each stage. width: D of tokens and pooled.
        fit: how a picture of any size becomes a square one: "ink" centres white strokes on black (drawn digits),
            "cover" scales and crops the middle (photographs), "stretch" shows all of it.

    Raises:
        InputError: no stage, or so many that a single token is left.
    """

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        widths: tuple[int, ...] = (32, 64, 128),
        width: int = 256,
        fit: Literal["ink", "cover", "stretch"] = "ink",
    ) -> None:
        super().__init__()
        side = math.ceil(size / 2 ** len(widths))
        if not widths or side < 2:
            raise InputError(
                f"conditioner.widths of {len(widths)} stages leave {side} x {side} of a size of {size}; give at least "
                f"one stage, and a conditioner.size above {2 ** max(1, len(widths))}"
            )
        inputs = (channels, *widths)
        sizes = (5, *(3 for _ in widths[1:]))
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, size, 2, size // 2) for (a, b), size in zip(pairwise(inputs), sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(8, channels), channels) for channels in widths)
        self.last = ResidualConv(widths[-1])
        self.num_tokens = side * side
        self.to_tokens = nn.Linear(widths[-1], width)
        # A matrix over every place of a large picture would outgrow the rest of the model.
        self.num_regions = min(side, NUM_REGIONS)
        self.to_pooled = nn.Sequential(
            nn.Linear(widths[-1] * self.num_regions**2, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_pooled = nn.LayerNorm(width)
        self.register_buffer("positions", grid_positions(side, side, width), persistent=False)
        self.null_tokens = nn.Parameter(torch.randn(self.num_tokens, width))
        self.null_pooled = nn.Parameter(torch.randn(width))

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: (B, C, size, size), uint8 0..255 or float in [-1, 1]."""
        x = raw.to(self.to_tokens.weight.dtype)
        if not raw.is_floating_point():
            x = x / 127.5 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = F.silu(norm(stage(x)))
        x = self.last(x)  # (B, widths[-1], side, side)
        tokens = self.norm_tokens(self.to_tokens(x.flatten(2).transpose(1, 2)))  # (B, L, D)
        if self.num_regions**2 < self.num_tokens:
            x = F.adaptive_avg_pool2d(x, self.num_regions)
        pooled = self.norm_pooled(self.to_pooled(x.flatten(1)))  # (B, D)
        return Condition(tokens=tokens + self.positions.to(tokens.dtype), pooled=pooled)
