"""A residual convolutional network that looks at photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.conditioning.image_conditioner import ImageConditioner
from synesthete.nn.blocks import PooledResidual
from synesthete.nn.embeddings import grid_positions
from synesthete.types import Condition

if TYPE_CHECKING:
    from torch import Tensor


class ResidualStem(ImageConditioner):
    """Photographs (B, C, size, size) uint8 -> a grid of tokens and a pooled vector.

    Every stage halves the picture; what is left is averaged down to `grid` x `grid` places, so that pictures of other
    sizes can be looked at with the same weights. Short and wide, maximum pooling and batch norm: the shape of network
    that learns small photographs with the fewest operations (Page 2018, "How to train your ResNet"; Jordan 2024,
    "94% on CIFAR-10 in 3.29 seconds", section 3).

    `extract_features` is the part that sees, `encode` reads what was seen. A stage of training that computes features
    once and keeps them calls `freeze` first.

    Args:
        size: side of the square picture, in pixels. channels: 1 reads grey, 3 colour.
        widths: channels of the first convolution, then of each stage. width: D of tokens and pooled.
        grid: places a side; grid * grid tokens.
        fit: how a picture of any size becomes a square one, as in `PictureStem`.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        widths: tuple[int, ...] = (32, 64, 256, 256),
        width: int = 256,
        grid: int = 4,
        fit: Literal["ink", "cover"] = "cover",
    ) -> None:
        super().__init__()
        first, *rest = widths
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.GELU()
        )
        for i, wide in enumerate(rest):
            self.backbone.append(PooledResidual(widths[i], wide))
        self.num_tokens = grid * grid
        self.to_tokens = nn.Linear(widths[-1], width)
        self.to_pooled = nn.Sequential(nn.Linear(2 * widths[-1], width), nn.SiLU(), nn.Linear(width, width))
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_pooled = nn.LayerNorm(width)
        self.register_buffer("positions", grid_positions(grid, grid, width), persistent=False)
        self.null_tokens = nn.Parameter(torch.randn(self.num_tokens, width))
        self.null_pooled = nn.Parameter(torch.randn(width))
        self.frozen = False

    def extract_features(self, raw: Tensor) -> Tensor:
        """raw: (B, C, H, W) uint8 -> what is seen, (B, widths[-1], grid, grid)."""
        x = raw.to(self.to_tokens.weight.dtype) / 127.5 - 1
        x = self.backbone(x.contiguous(memory_format=torch.channels_last))
        return F.adaptive_avg_pool2d(x, self.config.grid)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: (B, C, H, W) uint8, or what `extract_features` made of it (floating)."""
        seen = raw.to(self.to_tokens.weight.dtype) if raw.is_floating_point() else self.extract_features(raw)
        tokens = self.norm_tokens(self.to_tokens(seen.flatten(2).transpose(1, 2)))  # (B, L, D)
        pooled = self.norm_pooled(self.to_pooled(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], dim=1)))  # (B, D)
        return Condition(tokens=tokens + self.positions.to(tokens.dtype), pooled=pooled)

    def freeze(self, frozen: bool = True) -> None:
        """From now on `extract_features` learns nothing more and always gives the same, until it is freed again."""
        if frozen:
            self.backbone.requires_grad_(False)
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> ResidualStem:
        """As every module; a frozen backbone keeps the statistics of its batch norms."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self
