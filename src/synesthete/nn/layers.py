"""Layers of more than one network: attention, embeddings, and blocks of transformers and convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from synesthete.types import InputError

__all__ = ["CrossAttention"]


def sinusoid(position: torch.Tensor, width: int, longest: float = 10_000.0) -> torch.Tensor:
    """Sines and cosines of geometrically spaced frequencies, (...) -> (..., width) (Vaswani et al. 2017, 3.5)."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=position.device) / half)
    angle = position.float()[..., None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def grid_positions(rows: int, columns: int, width: int) -> torch.Tensor:
    """A fixed table for a grid of tokens, row-major, (rows * columns, width): half for the row, half for the column."""
    if width % 4:
        raise InputError(f"width {width}: places are told in sines and cosines of two axes; give a multiple of 4")
    device = torch.get_default_device()
    with torch.device("cpu"):  # without memory, torch would import its compiler for it
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        table = torch.cat([sinusoid(row, width // 2), sinusoid(column, width - width // 2)], dim=-1).flatten(0, 1)
    return table.to(device)


class TimestepEmbedding(nn.Module):
    """A timestep in 0..1000 as a vector: sinusoid, then two linear layers."""

    def __init__(self, width: int, num_frequencies: int = 256) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.linear_in, self.linear_out = nn.Linear(num_frequencies, width), nn.Linear(width, width)

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, width)."""
        frequencies = sinusoid(timestep, self.num_frequencies).to(self.linear_in.weight.dtype)
        return self.linear_out(F.silu(self.linear_in(frequencies)))


# On a CPU the fused kernel's backward pass loses to plain matrix products below about this many keys: 11 ms against
# 2 ms for 64 x 4 heads of 16 tokens, 42 against 15 for 71 tokens, on two cores.
SHORT = 128


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)."""
    batch, length, width = x.shape
    return x.view(batch, length, num_heads, width // num_heads).transpose(1, 2)


def unit_rms(x: Tensor) -> Tensor:
    """(..., D) divided by the root of the mean of its squares over D: `nn.RMSNorm` in two passes instead of six."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * (x.shape[-1] ** 0.5 / length.clamp(min=1e-6))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention, heads joined: three (B, heads, N or L, D / heads) -> (B, N, D); mask (B, L), True = keep."""
    if mask is not None:
        mask = mask[:, None, None, :]  # (B, 1, 1, L)
    if query.device.type == "cpu" and key.shape[-2] <= SHORT:
        with sdpa_kernel(SDPBackend.MATH):
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    else:
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return x.transpose(1, 2).flatten(2)  # (B, N, D)


class SelfAttention(nn.Module):
    """Tokens attend to each other; queries and keys are RMS-normalised (Dehghani et al. 2023): bf16 stays calm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.to_qkv(x).chunk(3, dim=-1))
        return self.to_out(attend(unit_rms(query), unit_rms(key), value))


class CrossAttention(nn.Module):
    """Tokens attend to a condition, whose keys and values are computed once per sample by `keys_values`."""

    def __init__(self, width: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(condition_width, 2 * width)
        self.to_out = nn.Linear(width, width)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, condition width) -> keys and values, each (B, heads, L, D / heads)."""
        key, value = (split_heads(part, self.num_heads) for part in self.to_key_value(tokens).chunk(2, dim=-1))
        return unit_rms(key), value

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query = unit_rms(split_heads(self.to_query(x), self.num_heads))
        return self.to_out(attend(query, *keys_values, mask))


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them.

    approximate: as `torch.nn.GELU` has it. On a CPU "none", forwards and backwards in bf16, takes a quarter of "tanh".
    """

    def __init__(self, width: int, ratio: float, approximate: str = "tanh") -> None:
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(approximate), nn.Linear(hidden, width))


class ConditionedBlock(nn.Module):
    """Self-attention, cross-attention and an MLP, each shifted, scaled and gated by adaLN-zero.

    condition_width: D of the tokens; None leaves cross-attention out. approximate: as of `FeedForward`.
    Source: DiT, Peebles & Xie 2023 (section 3.2); cross-attention beside it as in PixArt-alpha, Chen et al. 2023.
    """

    def __init__(
        self,
        width: int,
        condition_width: int | None,
        num_heads: int,
        mlp_ratio: float,
        approximate: str = "tanh",
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise InputError(
                f"denoiser.width {width} does not divide into {num_heads} heads; change denoiser.num_heads"
            )
        self.norm_self = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = SelfAttention(width, num_heads)
        self.cross_attention = None
        if condition_width is not None:
            self.norm_cross = nn.LayerNorm(width, elementwise_affine=False)
            self.cross_attention = CrossAttention(width, condition_width, num_heads)
        self.mlp = FeedForward(width, mlp_ratio, approximate)
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


def initialise(network: nn.Module, silent: Iterable[Any]) -> None:
    """Xavier everywhere; zero in `silent`, as adaLN-zero asks for it, so that each block starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for layer in silent:
        nn.init.zeros_(layer.weight)


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


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], complaint: str) -> None:
    """Tensors by name into a network. complaint: about those that are not its own, with {} for what torch says."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise InputError(complaint.format(reason)) from None


def patchify(x: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, rows, columns, C * height * width of a patch), zeros beyond the edge."""
    (rows, columns), (height, width) = grid, patch_size
    if x.shape[-2] > rows * height or x.shape[-1] > columns * width:  # padding by less than nothing would cut it
        raise InputError(
            f"x_t of {x.shape[-2]} x {x.shape[-1]}: this denoiser holds {rows * height} x {columns * width}; "
            "set denoiser.sample_size to the codec's shape"
        )
    x = F.pad(x, (0, columns * width - x.shape[-1], 0, rows * height - x.shape[-2]))
    x = x.unflatten(-1, (columns, width)).unflatten(-3, (rows, height))  # (B, C, rows, height, columns, width)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3)


def unpatchify(patches: Tensor, patch_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse of `patchify`, (B, C, H, W) of that size (H, W)."""
    x = patches.unflatten(-1, (-1, *patch_size)).permute(0, 3, 1, 4, 2, 5)  # (B, C, rows, height, columns, width)
    return x.flatten(4).flatten(2, 3)[..., : size[0], : size[1]]
