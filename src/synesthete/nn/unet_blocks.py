"""Blocks of the U-Net: residual convolutions told the timestep and the condition, and attention on their grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.nn.attention import CrossAttention, SelfAttention

if TYPE_CHECKING:
    from torch import Tensor

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
    """A modulated residual, followed by attention where `attends`."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        signal_width: int,
        *,
        attends: bool,
        condition_width: int | None,
        num_heads: int,
        dropout: float = 0.0,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        self.residual = ModulatedResidual(
            channels_in, channels, signal_width, dropout, squeeze_excitation=squeeze_excitation
        )
        self.attention = GridAttention(channels, condition_width, num_heads) if attends else None

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
