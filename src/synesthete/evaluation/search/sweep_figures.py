"""What a sweep looks like: a grid for each cell, one contact sheet of all, and a heat map for each figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from synesthete.data.picture import to_images
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.evaluation.reporting.report import number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Thumbnails = Callable[[Tensor], Sequence[Image.Image]]

GRID_COLUMNS = 24  # pictures of a class in a grid
MOSAIC_SIDE = 4  # pictures along the sides of a mosaic
DARK = 0.6  # of a colour map; from there on text is white


def draw_grid(
    samples: Tensor, class_names: Sequence[str], seeds: Sequence[int], title: str, draw: Thumbnails = to_images
) -> Image.Image:
    """A row for each class, columns for seeds: of each seed the first ones, GRID_COLUMNS in a row at most.

    samples: (L, S, n, ...) of L classes, S seeds and n of both. draw: a picture of each.
    """
    num = samples.shape[2]
    shown = max(1, min(num, GRID_COLUMNS // len(seeds)))
    columns = [f"{seed}" if num == 1 else f"{seed}.{i + 1}" for seed in seeds for i in range(shown)]
    rows = [list(draw(own[:, :shown].flatten(0, 1))) for own in samples]
    return draw_sheet(rows, class_names, columns, title=title)


def draw_mosaic(samples: Tensor, draw: Thumbnails = to_images) -> Image.Image:
    """The first samples of the first classes, edge to edge: (L, S, n, ...) -> at most MOSAIC_SIDE each way."""
    by_class = samples.flatten(1, 2)  # (L, S * n, ...)
    one_class = len(by_class) == 1
    chosen = by_class[0][: MOSAIC_SIDE**2] if one_class else by_class[:MOSAIC_SIDE, :MOSAIC_SIDE]
    columns = min(MOSAIC_SIDE, len(chosen)) if one_class else chosen.shape[1]
    tiles = draw(chosen if one_class else chosen.flatten(0, 1))
    width, height = tiles[0].size
    mosaic = Image.new(tiles[0].mode, (columns * width, -(-len(tiles) // columns) * height))
    for place, tile in enumerate(tiles):
        mosaic.paste(tile, (place % columns * width, place // columns * height))
    return mosaic


def heat_map_figure(
    values: np.ndarray, merits: np.ndarray, row_names: Sequence[str], column_names: Sequence[str], title: str
) -> Figure:
    """A figure of every cell (rows, columns), NaN where there is none, the darker the more merit; the best is framed.

    merits: (rows, columns), higher is better.
    """
    rows, columns = values.shape
    width = 0.072 * max(map(len, row_names)) + 0.8 * columns + 0.8
    figure = Figure(figsize=(max(width, 0.075 * len(title)), 0.36 * rows + 1.1), layout="constrained")
    axes = figure.add_subplot()
    known = merits[np.isfinite(merits)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    shade = np.where(np.isfinite(merits), (merits - low) / (high - low) if high > low else 0.0, np.nan)
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        colour = "white" if shade[row, column] > DARK else "black"
        text = number(float(values[row, column]))
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        if merits[row, column] == high:
            axes.add_patch(
                Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor="#c8541b", linewidth=2)
            )
    axes.set_xticks(range(columns), list(column_names), fontsize=8)
    axes.set_yticks(range(rows), list(row_names), fontsize=8)
    axes.set_xlabel("guidance scale", fontsize=8)
    axes.set_title(title, fontsize=10)
    return figure
