"""Blocks of the transformers and of the convolutional stems."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from synesthete.nn.attention import CrossAttention, SelfAttention

if TYPE_CHECKING:
    from torch import Tensor


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: float) -> None:
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


class ConditionedBlock(nn.Module):
    """Self-attention, cross-attention and an MLP, each shifted, scaled and gated by adaLN-zero.

    condition_width: D of the tokens; None leaves cross-attention out.
    Source: DiT, Peebles & Xie 2023 (section 3.2); cross-attention beside it as in PixArt-alpha, Chen et al. 2023.
    """

    def __init__(self, width: int, condition_width: int | None, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = SelfAttention(width, num_heads)
        self.cross_attention = None
        if condition_width is not None:
            self.norm_cross = nn.LayerNorm(width, elementwise_affine=False)
            self.cross_attention = CrossAttention(width, condition_width, num_heads)
        self.mlp = FeedForward(width, mlp_ratio)
        self.num_modulations = 6 if self.cross_attention is None else 9

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """A condition's tokens (B, L, D) as this block's keys and values."""
        assert self.cross_attention is not None
        return self.cross_attention.keys_values(tokens)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        keys_values: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x: (B, N, D). modulation: (B, num_modulations * D). Returns (B, N, D)."""
        part = modulation.unsqueeze(1).chunk(self.num_modulations, dim=-1)  # each (B, 1, D)
        x = x + part[2] * self.self_attention(modulate(self.norm_self(x), part[0], part[1]))
        if self.cross_attention is not None:
            assert keys_values is not None
            x = x + part[5] * self.cross_attention(modulate(self.norm_cross(x), part[3], part[4]), keys_values, mask)
        return x + part[-1] * self.mlp(modulate(self.norm_mlp(x), part[-3], part[-2]))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive normalisation's second half."""
    return x * (1 + scale) + shift


class ResidualConv(nn.Module):
    """A 3x3 convolution with group norm beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)
        self.norm = nn.GroupNorm(math.gcd(8, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + F.silu(self.norm(self.conv(x)))


class PooledResidual(nn.Module):
    """A convolution, halved by maximum pooling, then another one beside a shortcut.

    Batch norm: on two cores a group norm costs as much as the convolution before it.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm_in = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H / 2, W / 2)."""
        x = F.gelu(self.norm_in(F.max_pool2d(self.conv_in(x), 2)))
        return x + F.gelu(self.norm(self.conv(x)))
