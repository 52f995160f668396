"""Pictures in rows and columns with names beside them, and pictures and sounds as the content of files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import soundfile
from PIL import Image, ImageDraw, ImageFont

from synesthete.data.audio import to_int16

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64  # pixels that the shorter side of every picture has at least
GAP, MARGIN, LINE = 4, 8, 15
TEXT, TITLE = 12, 14  # font sizes
INK, PALE = "#1b1f24", "#4a5561"
MAX_ROW_NAME = 150


def draw_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    row_names: Sequence[str],
    column_names: Sequence[str] = (),
    *,
    title: str = "",
    captions: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """Pictures of one size in a grid: a name left of each row and above each column, `captions` below each picture.

    None leaves a place empty, an empty caption leaves nothing below. Small pictures are enlarged, every pixel a square.
    """
    first = next(picture for row in rows for picture in row if picture is not None)
    times = -(-SIDE // min(first.size))
    width, height = first.width * times, first.height * times
    words = [word for name in column_names for word in name.split()]
    column = max(width, min(round(1.5 * width), max((text_width(word) for word in words), default=0)))
    heads = [wrap(name, column) for name in column_names]
    sides = [wrap(name, MAX_ROW_NAME) for name in row_names]
    top = MARGIN + (TITLE + 10 if title else 0) + LINE * max(map(len, heads), default=0)
    left = MARGIN + max((text_width(line) for lines in sides for line in lines), default=0) + 8
    below = [LINE if captions and any(captions[y]) else 0 for y in range(len(rows))]
    tops = [top + y * (height + GAP) + sum(below[:y]) for y in range(len(rows) + 1)]
    num_columns = max(map(len, rows))
    right = max(left + num_columns * (column + GAP), 2 * MARGIN + text_width(title, TITLE))
    sheet = Image.new("RGB", (right + MARGIN - GAP, tops[-1] + MARGIN - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 2), title, INK, font(TITLE))
    for x, lines in enumerate(heads):
        for i, line in enumerate(reversed(lines)):
            centre = left + x * (column + GAP) + column / 2
            draw.text((centre, top - 5 - i * LINE), line, INK, font(TEXT), anchor="ms")
    for y, (row, lines, y_0) in enumerate(zip(rows, sides, tops, strict=False)):
        for i, line in enumerate(lines):
            middle = y_0 + height / 2 + (i - (len(lines) - 1) / 2) * LINE
            draw.text((left - 8, middle), line, INK, font(TEXT), anchor="rm")
        for x, picture in enumerate(row):
            x_0 = left + x * (column + GAP) + (column - width) // 2
            if picture is not None:
                sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x_0, y_0))
            if captions:
                draw.text((x_0 + width / 2, y_0 + height + 12), captions[y][x], PALE, font(TEXT - 1), anchor="ms")
    return sheet


def wrap(text: str, width: int) -> list[str]:
    """The text in lines no wider than `width` pixels; a longer word ends in dots."""
    lines: list[str] = []
    for word in text.split():
        word = shortened(word, width)
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shortened(word: str, width: int) -> str:
    """As much of the word as fits."""
    if text_width(word) <= width:
        return word
    while word and text_width(f"{word}…") > width:
        word = word[:-1]
    return f"{word}…"


def text_width(text: str, size: int = TEXT) -> int:
    """Pixels that a line of text takes."""
    return round(font(size).getlength(text)) + 1


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: it has the letters of most alphabets, on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def encode_png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def encode_gif(frames: Sequence[Image.Image], milliseconds: int = 120, hold: int = 1500) -> bytes:
    """Pictures of one size as an endless animation; the first and the last stay for `hold` milliseconds."""
    palettes = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [hold if i in (0, len(frames) - 1) else milliseconds for i in range(len(frames))]
    encoded = io.BytesIO()
    palettes[0].save(encoded, "GIF", save_all=True, append_images=palettes[1:], duration=durations, loop=0, disposal=1)
    return encoded.getvalue()


def encode_wav(waveform: Tensor, sample_rate: int) -> bytes:
    """A waveform (S,), int16 or float in [-1, 1], as a 16-bit wav file."""
    samples = to_int16(waveform) if waveform.is_floating_point() else waveform.cpu()
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.numpy(), sample_rate, subtype="PCM_16", format="WAV")
    return encoded.getvalue()
