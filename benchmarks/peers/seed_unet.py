"""The U-Net of the STL-10 experiment that `images-stl10` goes back to, rebuilt from its layout.

Four layers over channels 64, 64, 128, 256, 128: one residual block each, self-attention in the middle two,
cross-attention to one 512-wide CLIP vector in all four, then half or twice the size. It has 4,177,539 parameters, as
the original had. Attention is torch's fused kernel, which favours it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.nn.layers import sinusoid

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = (64, 64, 128, 256, 128)
UPSCALES = (False, False, True, True)
ATTENDS = (False, True, True, False)
GROUPS, HEADS = 8, 8
TIME_WIDTH, CONTEXT_WIDTH = 256, 512


class Attention(nn.Module):
    """Multi-head attention without biases: (B, N, D) to (B, L, context width)."""

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(context_width, width, bias=False)
        self.to_value = nn.Linear(context_width, width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        projected = (self.to_query(x), self.to_key(context), self.to_value(context))
        heads = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in projected)
        return self.to_out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Two convolutions, each after group norm and SiLU, the timestep added between them."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time = nn.Linear(TIME_WIDTH, channels)
        self.norm_out = nn.GroupNorm(GROUPS, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, channels_in, H, W), (B, time width) -> (B, channels, H, W)."""
        hidden = self.conv_in(F.silu(self.norm_in(x))) + self.time(time)[..., None, None]
        return self.shortcut(x) + self.conv_out(F.silu(self.norm_out(hidden)))


class Layer(nn.Module):
    """A block, attention, and half the size, or twice the size with half the channels."""

    def __init__(self, channels_in: int, channels: int, *, attends: bool, upscales: bool) -> None:
        super().__init__()
        self.block = Block(channels_in, channels)
        self.self_attention = Attention(channels, channels) if attends else None
        self.cross_attention = Attention(channels, CONTEXT_WIDTH)
        self.scale: nn.Module
        if upscales:
            self.scale = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.Conv2d(channels, channels // 2, 1),
            )
        else:
            self.scale = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels_in, H, W) -> the layer's output, and x before its size was changed."""
        x = self.block(x, time)
        tokens = x.flatten(2).transpose(1, 2)  # (B, H * W, C)
        attended = tokens if self.self_attention is None else self.self_attention(tokens, tokens)
        # Over its single key softmax is 1, so this takes the place of what self-attention found.
        attended = self.cross_attention(attended, context)
        x = x + attended.transpose(1, 2).unflatten(2, x.shape[-2:])
        return self.scale(x), x


class SeedUNet(nn.Module):
    """96x96 pictures through grids of 96, 48 and 24, without a middle block."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH))
        self.early_conv = nn.Conv2d(3, CHANNELS[0], 3, padding=1)
        layers = zip(CHANNELS, CHANNELS[1:], ATTENDS, UPSCALES, strict=False)
        self.layers = nn.ModuleList(Layer(i, o, attends=attends, upscales=up) for i, o, attends, up in layers)
        self.late_conv1 = nn.Conv2d(CHANNELS[-1], CHANNELS[-1] // 2, 3, padding=1)
        self.late_conv2 = nn.Conv2d(CHANNELS[-1] // 2, CHANNELS[-1] // 2, 3, padding=1)
        self.out = nn.Conv2d(CHANNELS[-1] // 2, 3, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_t: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """x_t: (B, 3, H, W), H and W divisible by 4. timestep: (B,). context: (B, 1, 512). Returns (B, 3, H, W)."""
        time = self.time(sinusoid(timestep, TIME_WIDTH))
        x = self.early_conv(x_t)
        skips: list[Tensor] = []
        for layer, upscales in zip(self.layers, UPSCALES, strict=True):
            x, before = layer(x, time, context)
            if upscales:
                x = torch.cat([x, skips.pop()], dim=1)
            else:
                skips.append(before)
        return self.out(F.silu(self.late_conv2(F.silu(self.late_conv1(x)))))
