"""The diffusion transformer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.denoisers.denoiser import ConditionedDenoiser
from synesthete.nn import layers
from synesthete.nn.layers import ConditionedBlock, TimestepEmbedding
from synesthete.types import Condition, InputError

REACH = 2  # columns to either side, in each of two layers


class PatchBoundaryRefiner(nn.Module):
    """A change of the prediction, from its own columns and those of x_t nearby: (B, C, H, W) -> (B, C, H, W).

    A column, all its channels and rows, is one vector; two layers see two columns to either side each. The second
    begins with zeros, so a network begins as it would without. Matrix products alone, which a CPU does faster in bf16
    than convolutions.

    Args:
        num_values: C * H of a column. width: of the layer between. signal_width: of what tells the timestep.
    """

    def __init__(self, num_values: int, width: int, signal_width: int) -> None:
        super().__init__()
        self.into = nn.Linear(2 * num_values * (2 * REACH + 1), width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(signal_width, 2 * width)
        self.out = nn.Linear(width * (2 * REACH + 1), num_values)

    def forward(self, prediction: Tensor, x_t: Tensor, signal: Tensor) -> Tensor:
        """prediction, x_t: (B, C, H, W). signal: (B, signal_width)."""
        both = torch.cat([prediction, x_t.to(prediction.dtype)], dim=1)
        columns = both.flatten(1, 2).transpose(1, 2)  # (B, W, 2 * C * H)
        shift, scale = self.modulation(signal).unsqueeze(1).chunk(2, dim=-1)
        hidden = F.gelu(layers.modulate(self.norm(self.into(nearby(columns))), shift, scale), approximate="tanh")
        return self.out(nearby(hidden)).transpose(1, 2).unflatten(1, prediction.shape[1:3])


def nearby(columns: Tensor) -> Tensor:
    """Each column (B, W, D) with those up to REACH before and behind it, zeros beyond the ends: (B, W, D * 5)."""
    num = columns.shape[1]
    padded = F.pad(columns, (0, 0, REACH, REACH))
    return torch.cat([padded[:, first : first + num] for first in range(2 * REACH + 1)], dim=-1)


class DiT(ConditionedDenoiser):
    """Transformer over rectangular patches of x_t, told the condition by cross-attention and by adaptive normalisation.

    Inputs of any size are padded to whole patches and the output is cut back, so 282 frames need no trimming.
    Source: DiT with adaLN-zero, Peebles & Xie 2023; modulation networks that layers share, plus a learned offset each,
    as in PixArt-alpha, Chen et al. 2023 (section 2.3).

    Args:
        sample_size: (H, W) of x_t.
        patch_size: (height, width) of a token: (4, 8) as small squares, (100, 4) as four whole spectra.
        condition_width, pooled_width: D of `Condition.tokens` and `Condition.pooled`; None reads none.
        num_modulation_networks: 1 serves all layers (PixArt-alpha), `depth` gives each its own (DiT); between them,
            neighbours share one.
        boundary_width: of two last layers that see neighbouring columns across the borders of patches, which otherwise
            show in whatever is continuous there; None leaves them out.

    Raises:
        InputError: a width that does not divide into heads, more modulation networks than layers, or a patch that is
            larger than a sample.
    """

    def __init__(
        self,
        sample_size: tuple[int, int] = (100, 282),
        patch_size: tuple[int, int] = (100, 4),
        in_channels: int = 1,
        width: int = 256,
        depth: int = 6,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        condition_width: int | None = 256,
        pooled_width: int | None = 256,
        num_modulation_networks: int = 1,
        boundary_width: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= num_modulation_networks <= depth:
            raise InputError(
                f"denoiser.num_modulation_networks {num_modulation_networks}: give 1 to {depth} (denoiser.depth)"
            )
        if patch_size[0] > sample_size[0] or patch_size[1] > sample_size[1]:
            raise InputError(
                f"denoiser.patch_size {list(patch_size)} is larger than a sample; give at most {list(sample_size)} "
                "(denoiser.sample_size)"
            )
        self.grid = math.ceil(sample_size[0] / patch_size[0]), math.ceil(sample_size[1] / patch_size[1])
        patch_values = in_channels * patch_size[0] * patch_size[1]
        self.embed_patch = nn.Linear(patch_values, width)
        self.register_buffer("positions", layers.grid_positions(*self.grid, width), persistent=False)
        self.embed_timestep = TimestepEmbedding(width)
        self.embed_pooled = None if pooled_width is None else nn.Linear(pooled_width, width)
        blocks = [ConditionedBlock(width, condition_width, num_heads, mlp_ratio) for _ in range(depth)]
        self.blocks, size = nn.ModuleList(blocks), blocks[0].num_modulations * width
        self.modulations = nn.ModuleList(nn.Linear(width, size) for _ in range(num_modulation_networks))
        self.offsets = nn.Parameter(torch.zeros(depth, size))
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate_out = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, patch_values)
        self.boundaries = (
            None
            if boundary_width is None
            else PatchBoundaryRefiner(in_channels * sample_size[0], boundary_width, width)
        )
        edges = () if self.boundaries is None else (self.boundaries.modulation, self.boundaries.out)
        layers.initialise(self, (*self.modulations, self.modulate_out, self.to_out, *edges))

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, C * height * width of a patch), zeros beyond the edge."""
        return layers.patchify(x, self.grid, self.config.patch_size).flatten(1, 2)

    def unpatchify(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """The inverse of `patchify`, cut to `size` (H, W)."""
        return layers.unpatchify(tokens.unflatten(1, self.grid), self.config.patch_size, size)

    def readers(self) -> Iterable[Any]:
        """Its blocks."""
        return self.blocks

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        if condition.keys_values is None:
            condition = self.precompute(condition)
        x = self.embed_patch(self.patchify(x_t)) + self.positions.to(x_t.dtype)  # (B, N, D)
        signal = self.signal(timestep.expand(x_t.shape[0]), condition)  # (B, D)
        shared = [modulation(signal) for modulation in self.modulations]
        for i, block in enumerate(self.blocks):
            modulation = shared[i * len(shared) // len(self.blocks)] + self.offsets[i]  # (B, 6 or 9 * D)
            keys_values = condition.keys_values[i] if condition.keys_values else None
            x = self.run(block, x, modulation, keys_values, condition.mask)
        shift, scale = self.modulate_out(signal).unsqueeze(1).chunk(2, dim=-1)
        x = self.to_out(layers.modulate(self.norm_out(x), shift, scale))  # (B, N, patch values)
        prediction = self.unpatchify(x, (x_t.shape[-2], x_t.shape[-1]))
        return prediction if self.boundaries is None else prediction + self.boundaries(prediction, x_t, signal)
