"""The convolutional U-Net."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.denoisers.denoiser import ConditionedDenoiser
from synesthete.nn.layers import CrossAttention, SelfAttention, TimestepEmbedding
from synesthete.types import Condition, InputError

Layer = TypeVar("Layer", bound=nn.Module)


def start_at_zero(layer: Layer) -> Layer:
    """The layer, its weight and bias zero: beside a shortcut, a block then starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class GroupNorm(nn.GroupNorm):
    """Group norm over up to eight groups; torch's module refuses a lone sample on a grid of one cell, this does not."""

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__(math.gcd(8, channels), channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class SqueezeExcitation(nn.Module):
    """A factor in (0, 2) for each channel, told by the means of all channels over the grid; 1 at the start.

    Twice a sigmoid, so that the last layer can start at zero and the block as it is without.
    Source: Hu et al. 2018 (section 3), whose reduction of 16 is kept, but for eight channels at least.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.linear_in = nn.Linear(channels, hidden)
        self.linear_out = start_at_zero(nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> factors (B, C, 1, 1)."""
        hidden = F.silu(self.linear_in(x.mean((2, 3))))
        return 2 * self.linear_out(hidden).sigmoid()[..., None, None]


class ModulatedResidual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the second norm's scale and shift are told by a signal (adaptive norm).

    The second convolution starts at zero, so that the block starts as its shortcut.
    squeeze_excitation: its output's channels are weighed by `SqueezeExcitation` before the shortcut joins them.
    Source: adaptive group norm, Dhariwal & Nichol 2021 (section 3).
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        signal_width: int,
        dropout: float = 0.0,
        *,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        self.norm_in = GroupNorm(channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulate = nn.Linear(signal_width, 2 * channels)
        self.norm_out = GroupNorm(channels, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = start_at_zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        self.excite = SqueezeExcitation(channels) if squeeze_excitation else None

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        """x: (B, channels_in, H, W). signal: (B, signal width). Returns (B, channels, H, W)."""
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        shift, scale = self.modulate(signal)[..., None, None].chunk(2, dim=1)  # (B, channels, 1, 1)
        # One pass over the grid where `hidden * (1 + scale) + shift` takes two: such passes cost what convolutions do.
        hidden = F.silu(torch.addcmul(shift, self.norm_out(hidden), 1 + scale))
        hidden = self.conv_out(self.dropout(hidden))
        if self.excite is None:
            return self.shortcut(x) + hidden
        return torch.addcmul(self.shortcut(x), self.excite(hidden), hidden)


class GridAttention(nn.Module):
    """The cells of a grid attend to each other, then to the condition's tokens; each beside its own shortcut.

    Both output projections start at zero. Cells are told their place by the convolutions around them.
    condition_width: D of the tokens; None leaves cross-attention out.
    """

    def __init__(self, channels: int, condition_width: int | None, num_heads: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(channels)
        self.self_attention = SelfAttention(channels, num_heads)
        start_at_zero(self.self_attention.to_out)
        self.cross_attention = None
        if condition_width is not None:
            self.norm_cross = nn.LayerNorm(channels)
            self.cross_attention = CrossAttention(channels, condition_width, num_heads)
            start_at_zero(self.cross_attention.to_out)

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x: (B, C, H, W). keys_values: as of `CrossAttention`. mask: (B, L). Returns (B, C, H, W)."""
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C), free of copies where x is channels-last
        tokens = tokens + self.self_attention(self.norm_self(tokens))
        if self.cross_attention is not None:
            assert keys_values is not None
            tokens = tokens + self.cross_attention(self.norm_cross(tokens), keys_values, mask)
        return tokens.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)


class UNetBlock(nn.Module):
    """A modulated residual, followed by attention where there is one."""

    def __init__(self, residual: ModulatedResidual, attention: GridAttention | None) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention

    @property
    def reader(self) -> CrossAttention | None:
        """The layer that reads the condition's tokens, where there is one."""
        return None if self.attention is None else self.attention.cross_attention

    def forward(
        self,
        x: Tensor,
        signal: Tensor,
        keys_values: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x: (B, channels_in, H, W). signal: (B, signal width). Returns (B, channels, H, W)."""
        x = self.residual(x, signal)
        return x if self.attention is None else self.attention(x, keys_values, mask)


class Upsample(nn.Module):
    """Twice the size by repetition, then a convolution: no checkerboard of a transposed one (Odena et al. 2016)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, 2 * H, 2 * W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNet(ConditionedDenoiser):
    """Convolutions on ever coarser grids and back, told the condition by cross-attention and by adaptive group norm.

    Inputs of any size, square or not, are padded to whole cells of the coarsest grid and the output is cut back.
    Source: DDPM's U-Net, Ho et al. 2020 (appendix B), with adaptive group norm, Dhariwal & Nichol 2021 (section 3).

    Args:
        sample_size: (H, W) of x_t, as the codec gives it; other sizes run as well.
        channels: of each level; every level halves the grid of the one before it.
        num_blocks: residual blocks of a level on the way down, and again on the way up.
        attention_levels: levels that attend, 0 the finest. The last one brings the middle's attention with it.
            Attention's cost grows with the square of a level's cells: 576 at 24x24, 9,216 at 96x96.
        num_heads: of every attention layer.
        patch_size: side of the squares of x_t that are one cell of the finest grid; 2 leaves a quarter of the work.
        condition_width, pooled_width: D of `Condition.tokens` and `Condition.pooled`; None reads none.
        spatial_channels: C of `Condition.spatial`, joined to x_t as channels; None reads none.
        dropout: before each block's second convolution, 0..1.
        squeeze_excitation: weigh each block's channels by what all of them hold on the whole grid (Hu et al. 2018).

    Raises:
        InputError: no channels or blocks, a level that does not exist, channels that do not divide into heads, or
            tokens that no level would read.
    """

    def __init__(
        self,
        sample_size: tuple[int, int] = (96, 96),
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256),
        num_blocks: int = 2,
        attention_levels: tuple[int, ...] = (2,),
        num_heads: int = 4,
        patch_size: int = 1,
        condition_width: int | None = 256,
        pooled_width: int | None = 256,
        spatial_channels: int | None = None,
        dropout: float = 0.0,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        if not channels or num_blocks < 1 or patch_size < 1:
            raise InputError(
                f"denoiser.channels {tuple(channels)}, num_blocks {num_blocks}, patch_size {patch_size}: give at least "
                "one"
            )
        for level in attention_levels:
            if not 0 <= level < len(channels):
                raise InputError(f"denoiser.attention_levels: no level {level}; give 0 to {len(channels) - 1}")
            if channels[level] % num_heads:
                raise InputError(
                    f"denoiser.channels {channels[level]} do not divide into {num_heads} heads; change "
                    "denoiser.num_heads"
                )
        if condition_width is not None and not attention_levels:
            raise InputError("denoiser.attention_levels is empty, so nothing would read the tokens; name a level")
        finest, coarsest, signal_width = channels[0], channels[-1], 4 * channels[0]
        self.cell = patch_size * 2 ** (len(channels) - 1)

        def block(level: int, channels_in: int, *, attends: bool = True) -> UNetBlock:
            width, attends = channels[level], attends and level in attention_levels
            residual = ModulatedResidual(
                channels_in, width, signal_width, dropout, squeeze_excitation=squeeze_excitation
            )
            return UNetBlock(residual, GridAttention(width, condition_width, num_heads) if attends else None)

        self.embed_timestep = TimestepEmbedding(signal_width)
        self.embed_pooled = None if pooled_width is None else nn.Linear(pooled_width, signal_width)
        self.conv_in = nn.Conv2d((in_channels + (spatial_channels or 0)) * patch_size**2, finest, 3, padding=1)
        levels, last = range(len(channels)), len(channels) - 1
        self.down_blocks = nn.ModuleList(block(i, channels[i]) for i in levels for _ in range(num_blocks))
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in itertools.pairwise(channels)
        )
        self.mid_blocks = nn.ModuleList([block(last, coarsest), block(last, coarsest, attends=False)])
        self.up_blocks = nn.ModuleList(block(i, 2 * channels[i]) for i in reversed(levels) for _ in range(num_blocks))
        self.up = nn.ModuleList(Upsample(coarse, fine) for coarse, fine in itertools.pairwise(channels[::-1]))
        self.norm_out = GroupNorm(finest)
        self.conv_out = start_at_zero(nn.Conv2d(finest, in_channels * patch_size**2, 3, padding=1))
        self.to(memory_format=torch.channels_last)

    def readers(self) -> Iterable[Any]:
        """The cross-attention of its blocks that have one."""
        blocks = itertools.chain(self.down_blocks, self.mid_blocks, self.up_blocks)
        return (block.reader for block in blocks if isinstance(block, UNetBlock) and block.reader)

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        if condition.keys_values is None:
            condition = self.precompute(condition)
        keys_values = iter(condition.keys_values or ())
        signal = self.signal(timestep.expand(x_t.shape[0]), condition)  # (B, D)
        x, skips = self._enter(x_t, condition), []

        def run(block: Any, x: Tensor) -> Tensor:
            """A block's output; one that reads tokens takes the next keys and values."""
            own = next(keys_values) if block.reader is not None else None
            return self.run(block, x, signal, own, condition.mask)

        for level, blocks in enumerate(self._by_level(self.down_blocks)):
            if level:
                x = self.down[level - 1](x)
            for block in blocks:
                x = run(block, x)
                skips.append(x)
        for block in self.mid_blocks:
            x = run(block, x)
        for level, blocks in enumerate(self._by_level(self.up_blocks)):
            if level:
                x = self.up[level - 1](x)
            for block in blocks:
                x = run(block, torch.cat([x, skips.pop()], dim=1))
        x = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.config.patch_size)
        return x[..., : x_t.shape[-2], : x_t.shape[-1]].contiguous()

    def _enter(self, x: Tensor, condition: Condition) -> Tensor:
        """x_t, and the spatial condition as more channels, on the finest grid: (B, channels[0], rows, columns)."""
        x = self.join_spatial(x, condition)
        x = F.pad(x, (0, -x.shape[-1] % self.cell, 0, -x.shape[-2] % self.cell))
        x = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size))
        # A single channel is laid out both ways at once, and loaded weights may have lost their layout.
        return x.contiguous(memory_format=torch.channels_last)

    def _by_level(self, blocks: nn.ModuleList) -> Iterator[tuple[nn.Module, ...]]:
        """The blocks of one level after the other, in the order they run."""
        for i in range(0, len(blocks), self.config.num_blocks):
            yield tuple(blocks)[i : i + self.config.num_blocks]
