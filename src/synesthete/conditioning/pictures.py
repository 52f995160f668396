"""Pictures as a condition: made square as a network is to see them, then seen by a small network that learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.conditioning.conditioner import Conditioner
from synesthete.nn.layers import PooledResidual, ResidualConv, grid_positions
from synesthete.picture_decoder import as_shown
from synesthete.types import Condition, InputError


def fit_picture(picture: Image.Image, size: int, mode: str, fit: str) -> np.ndarray:
    """One picture -> (C, size, size) uint8. mode: "L" or "RGB". fit: one of FITS."""
    picture = flatten(picture, mode)
    square = FITS[fit](picture, size)
    array = np.array(square, dtype=np.uint8).reshape(size, size, -1)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def flatten(picture: Image.Image, mode: str) -> Image.Image:
    """Upright, in `mode`, without transparency: light ink is laid on black, dark ink and photographs on white."""
    picture = as_shown(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        opaque = np.asarray(layered)[..., 3] > 127
        ink = np.asarray(layered.convert("L"))[opaque]
        ground = "black" if ink.size and not opaque.all() and ink.mean() > 127 else "white"
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, ground), layered)
    return picture.convert(mode)


def fit_ink(picture: Image.Image, size: int) -> Image.Image:
    """Strokes white on black, their box scaled to 20/28 of `size` and their centre of mass put in the middle.

    The layout of MNIST (LeCun et al. 1998), so that drawings, scans and 8x8 digits look alike to the network.
    Dark strokes on a light ground are inverted first; a blank picture stays blank.
    """
    values = np.asarray(picture.convert("L"), dtype=np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ground = float(np.median(border))
    if ground > 127:
        values, ground = 255 - values, 255 - ground
    values = np.clip(values - ground, 0, None)
    canvas = Image.new("L", (size, size))
    if values.max() < 16:
        return canvas
    values *= 255 / values.max()
    rows, columns = np.nonzero(values > 64)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    ink = Image.fromarray(values[top:bottom, left:right].astype(np.uint8))
    scale = size * 20 / 28 / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BICUBIC)
    weights = np.asarray(ink, dtype=np.float32)
    if weights.max() == 0:
        return canvas
    if scale < 1:  # thin lines of a large scan fade when they are made small
        weights *= 255 / weights.max()
        ink = Image.fromarray(weights.astype(np.uint8))
    total = weights.sum()
    centre_y = float((weights.sum(axis=1) * np.arange(len(weights))).sum() / total)
    centre_x = float((weights.sum(axis=0) * np.arange(weights.shape[1])).sum() / total)
    canvas.paste(ink, (round(size / 2 - 0.5 - centre_x), round(size / 2 - 0.5 - centre_y)))
    return canvas


FITS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "ink": fit_ink,
    "cover": lambda picture, size: ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC),
    "stretch": lambda picture, size: picture.resize((size, size), Image.Resampling.BILINEAR),
}


class ImageConditioner(Conditioner):
    """Pictures -> tokens and a pooled vector; the null is one learned token a place and one learned pooled vector.

    Those derived from it call `make_null` last, and have the fields size, channels and fit of `fit_picture`, or a
    `preprocess` of their own.
    """

    reads = "image"

    def make_null(self, num_tokens: int, width: int, scale: float = 1.0, pooled_scale: float = 1.0) -> None:
        """Draw what is told of no picture: tokens (L, D) and a pooled vector (D,) of these spreads."""
        self.null_tokens = nn.Parameter(scale * torch.randn(num_tokens, width))
        self.null_pooled = nn.Parameter(pooled_scale * torch.randn(width))

    def in_units(self, raw: Tensor) -> Tensor:
        """Pictures uint8 0..255, or float in [-1, 1], as float in [-1, 1] of the weights' type."""
        x = raw.to(self.null_pooled.dtype)
        return x if raw.is_floating_point() else x / 127.5 - 1

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, C, size, size) uint8; white strokes on black where `fit` is "ink"."""
        how = (self.config.size, "L" if self.config.channels == 1 else "RGB", self.config.fit)
        return torch.from_numpy(np.stack([fit_picture(picture, *how) for picture in pictures]))

    def null(self, batch_size: int) -> Condition:
        """The condition that shows nothing, (batch_size, ...)."""
        tokens, pooled = (one.expand(batch_size, *one.shape) for one in (self.null_tokens, self.null_pooled))
        return Condition(tokens=tokens, pooled=pooled)


STEM_REGIONS = 8  # a side, of what the pooled vector of a stem reads


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
        pairs = pairwise((channels, *widths))
        self.stages = nn.ModuleList(nn.Conv2d(a, b, *((3, 2, 1) if i else (5, 2, 2))) for i, (a, b) in enumerate(pairs))
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(8, channels), channels) for channels in widths)
        self.last = ResidualConv(widths[-1])
        self.num_tokens = side * side
        self.to_tokens = nn.Linear(widths[-1], width)
        # A matrix over every place of a large picture would outgrow the rest of the model.
        self.num_regions = min(side, STEM_REGIONS)
        self.to_pooled = nn.Sequential(
            nn.Linear(widths[-1] * self.num_regions**2, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.norm_tokens, self.norm_pooled = nn.LayerNorm(width), nn.LayerNorm(width)
        self.register_buffer("positions", grid_positions(side, side, width), persistent=False)
        self.make_null(self.num_tokens, width)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: (B, C, size, size), uint8 0..255 or float in [-1, 1]."""
        x = self.in_units(raw).contiguous(memory_format=torch.channels_last)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = F.silu(norm(stage(x)))
        x = self.last(x)  # (B, widths[-1], side, side)
        tokens = self.norm_tokens(self.to_tokens(x.flatten(2).transpose(1, 2)))  # (B, L, D)
        if self.num_regions**2 < self.num_tokens:
            x = F.adaptive_avg_pool2d(x, self.num_regions)
        pooled = self.norm_pooled(self.to_pooled(x.flatten(1)))  # (B, D)
        return Condition(tokens=tokens + self.positions.to(tokens.dtype), pooled=pooled)


class ResidualStem(ImageConditioner):
    """Photographs (B, C, size, size) uint8 -> a grid of tokens and a pooled vector.

    Every stage halves the picture; what is left is averaged down to `grid` x `grid` places, so that pictures of other
    sizes can be looked at with the same weights. Short and wide, maximum pooling and batch norm: the shape of network
    that learns small photographs with the fewest operations (Page 2018, "How to train your ResNet"; Jordan 2024,
    "94% on CIFAR-10 in 3.29 seconds", section 3).

    `extract_features` is the part that sees, `encode` reads what was seen. A stage of training that computes features
    once and keeps them calls `freeze` first.

    Args:
        size, channels, width, fit: as of a `PictureStem`.
        widths: channels of the first convolution, then of each stage.
        grid: places a side; grid * grid tokens.
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
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.GELU()
        )
        self.backbone.extend(PooledResidual(a, b) for a, b in pairwise(widths))
        self.to_tokens = nn.Linear(widths[-1], width)
        self.to_pooled = nn.Sequential(nn.Linear(2 * widths[-1], width), nn.SiLU(), nn.Linear(width, width))
        self.norm_tokens, self.norm_pooled = nn.LayerNorm(width), nn.LayerNorm(width)
        self.register_buffer("positions", grid_positions(grid, grid, width), persistent=False)
        self.make_null(grid * grid, width)
        self.frozen = False

    def extract_features(self, raw: Tensor) -> Tensor:
        """raw: (B, C, H, W) uint8 -> what is seen, (B, widths[-1], grid, grid)."""
        x = self.backbone(self.in_units(raw).contiguous(memory_format=torch.channels_last))
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


PATCH_REGIONS = 4  # a side, of what that of patches reads


class PicturePatches(ImageConditioner):
    """Pictures (B, C, size, size) uint8 -> a token a patch, (size / patch_size)^2 of them, and a pooled vector.

    A patch's values, in [-1, 1], colour by colour and row by row, go through one linear layer, and its place is added.
    The pooled vector is a spatial pyramid over features of the patches (Lazebnik et al. 2006, section 3): the mean of
    each over 4 x 4 regions, and its largest over the picture, so it tells what is there and about where. The null is
    one learned token a place and one learned pooled vector.

    Args:
        size, channels, width, fit: as of a `PictureStem`.
        patch_size: side of a patch in pixels. num_features: of a patch, for the pooled vector.

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
        self.num_regions = min(self.side, PATCH_REGIONS)
        self.to_features = nn.Linear(width, num_features)
        self.to_pooled = nn.Linear((self.num_regions**2 + 1) * num_features, width)
        self.norm_pooled = nn.LayerNorm(width)
        self.make_null(self.side**2, width, scale=0.5)

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, L, C * P * P), patches row by row, the values of one in the order (C, P, P)."""
        patch = self.config.patch_size
        x = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, rows, P, columns, P)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: (B, C, size, size), uint8 0..255 or float in [-1, 1]."""
        tokens = self.to_tokens(self.patchify(self.in_units(raw)))
        tokens = tokens + self.positions.to(tokens.dtype)  # (B, L, D)
        features = F.silu(self.to_features(tokens)).transpose(1, 2)  # (B, features, L)
        means = F.adaptive_avg_pool2d(features.unflatten(2, (self.side, -1)), self.num_regions)
        pooled = self.to_pooled(torch.cat([means.flatten(1), features.amax(dim=2)], dim=1))  # (B, D)
        return Condition(tokens=tokens, pooled=self.norm_pooled(pooled))
