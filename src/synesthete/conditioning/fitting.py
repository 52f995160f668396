"""Pictures of any size made square, as a network was trained to see them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

FITS = ("ink", "cover")


def fit_picture(picture: Image.Image, size: int, mode: str, fit: str) -> np.ndarray:
    """One picture -> (C, size, size) uint8. mode: "L" or "RGB". fit: one of FITS."""
    picture = flatten(picture, mode)
    square = fit_ink(picture, size) if fit == "ink" else ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    array = np.array(square, dtype=np.uint8).reshape(size, size, -1)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def flatten(picture: Image.Image, mode: str) -> Image.Image:
    """Upright, without transparency (laid on the colour its own ink contrasts with: white), in `mode`."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
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
    if values.max() < 16:
        return Image.new("L", (size, size))
    values *= 255 / values.max()
    rows, columns = np.nonzero(values > 64)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    ink = Image.fromarray(values[top:bottom, left:right].astype(np.uint8))
    scale = size * 20 / 28 / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BICUBIC)
    weights = np.asarray(ink, dtype=np.float32)
    total = weights.sum()
    centre_y = float((weights.sum(axis=1) * np.arange(len(weights))).sum() / total)
    centre_x = float((weights.sum(axis=0) * np.arange(weights.shape[1])).sum() / total)
    canvas = Image.new("L", (size, size))
    canvas.paste(ink, (round(size / 2 - 0.5 - centre_x), round(size / 2 - 0.5 - centre_y)))
    return canvas
