"""Pictures of any size made square, as a network was trained to see them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

FITS = ("ink", "cover", "stretch")


def fit_picture(picture: Image.Image, size: int, mode: str, fit: str) -> np.ndarray:
    """One picture -> (C, size, size) uint8. mode: "L" or "RGB". fit: one of FITS."""
    picture = flatten(picture, mode)
    if fit == "ink":
        square = fit_ink(picture, size)
    elif fit == "cover":
        square = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    else:
        square = picture.resize((size, size), Image.Resampling.BILINEAR)
    array = np.array(square, dtype=np.uint8).reshape(size, size, -1)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def flatten(picture: Image.Image, mode: str) -> Image.Image:
    """Upright, in `mode`, without transparency: light ink is laid on black, dark ink and photographs on white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut at 255
        values = np.asarray(picture, dtype=np.float32)
        return Image.fromarray((values / max(257.0, values.max() / 255)).astype(np.uint8)).convert(mode)
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
