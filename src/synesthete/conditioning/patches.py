"""A picture as its raw patches, nothing learned before the denoiser's cross-attention but one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.conditioning.image_conditioner import ImageConditioner
from synesthete.nn.embeddings import grid_positions
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from torch import Tensor


NUM_REGIONS = 4  # a side


class PicturePatches(ImageConditioner):
    """Pictures (B, C, size, size) uint8 -> a token a patch, (size / patch_size)^2 of them, and a pooled vector.

    A patch's values, in [-1, 1], colour by colour and row by row, go through one linear layer, and its place is added.
    The pooled vector is a spatial pyramid over features of the patches (Lazebnik et al. 2006, section 3): the mean of
    each over 4 x 4 regions, and its largest over the picture, so it tells what is there and about where. The null is
    one learned token a place and one learned pooled vector.

    Args:
        size: side of the square picture in pixels. channels: 1 reads grey, 3 colour.
        patch_size: side of a patch in pixels. width: D of tokens and pooled.
        num_features: of a patch, for the pooled vector.
        fit: how a picture of any size becomes a square one: "stretch" shows all of it, "cover" scales it and crops
            the middle, "ink" centres white strokes on black.

    Raises:
        InputError: a size that is not whole patches, or fewer than two of them a side.
    """

    def __init__(
        self,
        size: int = 512,
        channels: int = 3,
        patch_size: int = 16,
        width: int = 768,
        num_features: int = 64,
        fit: Literal["stretch", "cover", "ink"] = "stretch",
    ) -> None:
        super().__init__()
        self.side = size // patch_size
        if size % patch_size or self.side < 2:
            raise InputError(
                f"conditioner.size {size} is not two or more whole patches of {patch_size}; "
                f"--set conditioner.size={patch_size * max(2, round(size / patch_size))}"
            )
        self.to_tokens = nn.Linear(channels * patch_size**2, width)
        nn.init.xavier_uniform_(self.to_tokens.weight)
        self.register_buffer("positions", grid_positions(self.side, self.side, width), persistent=False)
        self.num_regions = min(self.side, NUM_REGIONS)
        self.to_features = nn.Linear(width, num_features)
        self.to_pooled = nn.Linear((self.num_regions**2 + 1) * num_features, width)
        self.norm_pooled = nn.LayerNorm(width)
        self.null_tokens = nn.Parameter(0.5 * torch.randn(self.side**2, width))
        self.null_pooled = nn.Parameter(torch.randn(width))

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, L, C * P * P), patches row by row, the values of one in the order (C, P, P)."""
        patch = self.config.patch_size
        x = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, rows, P, columns, P)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: (B, C, size, size), uint8 0..255 or float in [-1, 1]."""
        x = raw.to(self.to_tokens.weight.dtype)
        if not raw.is_floating_point():
            x = x / 127.5 - 1
        tokens = self.to_tokens(self.patchify(x))
        tokens = tokens + self.positions.to(tokens.dtype)  # (B, L, D)
        features = F.silu(self.to_features(tokens)).transpose(1, 2)  # (B, features, L)
        means = F.adaptive_avg_pool2d(features.unflatten(2, (self.side, -1)), self.num_regions)
        pooled = self.to_pooled(torch.cat([means.flatten(1), features.amax(dim=2)], dim=1))  # (B, D)
        return Condition(tokens=tokens, pooled=self.norm_pooled(pooled))
