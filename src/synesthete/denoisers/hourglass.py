"""The hourglass: fine cells, few tokens of merged cells, and the cells again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.denoisers.denoiser import ConditionedDenoiser
from synesthete.nn import layers
from synesthete.nn.layers import ConditionedBlock, FeedForward, TimestepEmbedding
from synesthete.nn.roll import OWN_ROWS, Intervals
from synesthete.types import Condition, InputError

REACH = 2  # cells to either side that a cell's block looks at, along each axis that has more than one
NUM_MODULATIONS = 3  # of a cell's block: shift, scale and gate


class CellBlock(nn.Module):
    """Each channel's neighbouring cells are weighed, then an MLP of each cell; adaLN-zero.

    Source: the order of ConvNeXt, Liu et al. 2022 (section 2.6).

    Args:
        width: of a cell. grid: rows and columns of cells.
    """

    def __init__(self, width: int, grid: tuple[int, int], mlp_ratio: float) -> None:
        super().__init__()
        reach = [REACH if num > 1 else 0 for num in grid]
        kernel = 2 * reach[0] + 1, 2 * reach[1] + 1
        self.nearby = nn.Conv2d(width, width, kernel, padding=(reach[0], reach[1]), groups=width)
        with torch.no_grad():  # each cell is seen as it is first; its neighbours, a little
            self.nearby.weight.mul_(0.2)[..., reach[0], reach[1]] += 1
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = FeedForward(width, mlp_ratio, approximate="none")

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x: (B, rows, columns, D). modulation: (B, 3 * D). Returns (B, rows, columns, D)."""
        shift, scale, gate = modulation[:, None, None].chunk(NUM_MODULATIONS, dim=-1)  # each (B, 1, 1, D)
        # On two cores a depthwise convolution, forwards and backwards, took 13 ms in float32 and 46 in bf16.
        with torch.autocast(x.device.type, enabled=False):
            near = self.nearby(x.to(self.nearby.weight.dtype).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        hidden = self.mlp(layers.modulate(self.norm(near), shift, scale).to(x.dtype))
        return torch.addcmul(x, gate.to(x.dtype), hidden.to(x.dtype))


class Hourglass(ConditionedDenoiser):
    """Blocks of fine cells see x_t; in the middle few tokens of merged cells attend; a shortcut leads around them.

    What is fine, as the harmonics of a voice, need not pass through the tokens, and what is far apart, as the order of
    sounds in a word, is settled in few of them. Cells and tokens alike are told timestep and pooled condition by
    adaLN-zero, tokens the condition's tokens by cross-attention too. Source: HDiT, Crowson et al. 2024, with the blocks
    of `DiT` in the middle and one shared modulation network for each of the two, with a learned offset a block
    (PixArt-alpha, Chen et al. 2023, section 2.3).

    Inputs of any size are padded to whole tokens and the output is cut back.

    Args:
        sample_size: (H, W) of x_t.
        cell_size: (height, width) of a cell: (100, 1) is a frame of 100 bands, (2, 2) four pixels. A cell has to be no
            more values than `cell_width`, or else the noise that the output holds cannot pass.
        merge: (rows, columns) of cells that are a token.
        cell_width, cell_mlp_ratio: of the blocks of cells. num_cell_blocks: before the tokens, and again after them.
        width, depth, num_heads, mlp_ratio: of the tokens' blocks.
        condition_width, pooled_width: D of `Condition.tokens` and `Condition.pooled`; None reads none.
        spatial_channels: C of `Condition.spatial`, joined to x_t as channels; None reads none.
        interval_width: of the `Intervals` that read a roll's known notes and mend the output, the logits that
            `NoteMasking` asks for; None does without. The spatial condition has what is held, its mask, and
            then what else is told of pitches, as `SketchedScore` lays it.

    Raises:
        InputError: a width that does not divide into heads, or a cell of more values than its width.
    """

    def __init__(
        self,
        sample_size: tuple[int, int] = (100, 282),
        cell_size: tuple[int, int] = (100, 1),
        merge: tuple[int, int] = (1, 4),
        in_channels: int = 1,
        cell_width: int = 192,
        num_cell_blocks: int = 3,
        cell_mlp_ratio: float = 3.0,
        width: int = 256,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: float = 3.0,
        condition_width: int | None = 256,
        pooled_width: int | None = 256,
        spatial_channels: int | None = None,
        interval_width: int | None = None,
    ) -> None:
        super().__init__()
        cell_values = math.prod(cell_size)
        if in_channels * cell_values > cell_width:
            raise InputError(
                f"denoiser.cell_size {cell_size[0]} x {cell_size[1]}: {in_channels * cell_values} values, which cannot "
                f"pass a cell_width of {cell_width}; make the cells smaller, or denoiser.cell_width larger"
            )
        self.token_grid = (
            math.ceil(sample_size[0] / (cell_size[0] * merge[0])),
            math.ceil(sample_size[1] / (cell_size[1] * merge[1])),
        )
        self.grid = self.token_grid[0] * merge[0], self.token_grid[1] * merge[1]
        self.embed_cell = nn.Linear((in_channels + (spatial_channels or 0)) * cell_values, cell_width)
        self.embed_timestep = TimestepEmbedding(width)
        self.embed_pooled = None if pooled_width is None else nn.Linear(pooled_width, width)
        self.cell_blocks = nn.ModuleList(
            CellBlock(cell_width, self.grid, cell_mlp_ratio) for _ in range(2 * num_cell_blocks)
        )
        self.modulate_cells = nn.Linear(width, NUM_MODULATIONS * cell_width)
        self.cell_offsets = nn.Parameter(torch.zeros(2 * num_cell_blocks, NUM_MODULATIONS * cell_width))
        self.merge = nn.Linear(cell_width * math.prod(merge), width)
        self.split = nn.Linear(width, cell_width * math.prod(merge))
        self.register_buffer("positions", layers.grid_positions(*self.token_grid, width), persistent=False)
        blocks = [
            ConditionedBlock(width, condition_width, num_heads, mlp_ratio, approximate="none") for _ in range(depth)
        ]
        self.blocks, size = nn.ModuleList(blocks), blocks[0].num_modulations * width
        self.modulate_tokens = nn.Linear(width, size)
        self.offsets = nn.Parameter(torch.zeros(depth, size))
        self.norm_out = nn.LayerNorm(cell_width, elementwise_affine=False)
        self.modulate_out = nn.Linear(width, 2 * cell_width)
        self.to_out = nn.Linear(cell_width, in_channels * cell_values)
        self.intervals = None
        if interval_width is not None:
            beside = max((spatial_channels or 0) - 2 * in_channels, 0)
            self.intervals = Intervals(in_channels, sample_size[0] - OWN_ROWS, interval_width, beside)
        layers.initialise(self, (self.modulate_cells, self.modulate_tokens, self.modulate_out, self.to_out))

    def readers(self) -> Iterable[Any]:
        """Its blocks."""
        return self.blocks

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        if condition.keys_values is None:
            condition = self.precompute(condition)
        signal = self.signal(timestep.expand(x_t.shape[0]), condition)  # (B, D)
        cells = self.embed_cell(layers.patchify(self.join_spatial(x_t, condition), self.grid, self.config.cell_size))
        cell_modulations = self.modulate_cells(signal) + self.cell_offsets[:, None]  # (blocks, B, 3 * cell width)
        half = len(self.cell_blocks) // 2
        for block, modulation in zip(self.cell_blocks[:half], cell_modulations[:half], strict=True):
            cells = self.run(block, cells, modulation)  # (B, rows, columns, cell width)
        x = self.merge(merged(cells, self.config.merge).flatten(1, 2))  # (B, N, D)
        x = x + self.positions.to(x_t.dtype)
        shared = self.modulate_tokens(signal)
        for i, block in enumerate(self.blocks):
            keys_values = condition.keys_values[i] if condition.keys_values else None
            x = self.run(block, x, shared + self.offsets[i], keys_values, condition.mask)
        cells = cells + divided(self.split(x).unflatten(1, self.token_grid), self.config.merge)
        for block, modulation in zip(self.cell_blocks[half:], cell_modulations[half:], strict=True):
            cells = self.run(block, cells, modulation)
        shift, scale = self.modulate_out(signal)[:, None, None].chunk(2, dim=-1)
        cells = self.to_out(layers.modulate(self.norm_out(cells), shift, scale))  # (B, rows, columns, values of a cell)
        output = layers.unpatchify(cells, self.config.cell_size, (x_t.shape[-2], x_t.shape[-1]))
        if self.intervals is None:
            return output
        known, key = x_t, x_t[:, :0]
        if condition.spatial is not None:
            known = x_t.where(x_t != 0, condition.spatial[:, : x_t.shape[1]].to(x_t))
            key = condition.spatial[:, 2 * x_t.shape[1] :, :-OWN_ROWS].to(x_t)
        return output + F.pad(self.intervals(known, output[:, :, :-OWN_ROWS], key), (0, 0, 0, OWN_ROWS))


def merged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, rows, columns, D) -> (B, rows / size[0], columns / size[1], size[0] * size[1] * D): neighbours as one."""
    return cells.unflatten(2, (-1, size[1])).unflatten(1, (-1, size[0])).transpose(2, 3).flatten(3)


def divided(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of `merged`."""
    return tokens.unflatten(3, (*size, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
