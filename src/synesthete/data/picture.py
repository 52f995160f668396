"""One picture: where it lies until it is needed, and how it is read and written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synesthete.data.files import SourceFile, legible, list_files
from synesthete.io import digest, write_file
from synesthete.picture_decoder import MAX_PIXELS, decode_picture
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PictureArray"]

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".dib",
    ".jfif", ".jpe", ".jif", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".tga", ".apng", ".mpo",
)  # fmt: skip
# Pictures that are not read, and that are named wherever they lie among others.
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".jxl", ".svg", ".svgz", ".eps", ".ps", ".psd", ".psb", ".xcf", ".ico", ".icns", ".pcx", ".dds",
    ".qoi", ".exr", ".hdr", ".wmf", ".emf", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".jxr",
)  # fmt: skip
# How pictures begin that have another suffix, or none.
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
HEAD = 16  # bytes that tell
GAP = 4  # pixels between pictures in a grid


class Picture(Protocol):
    """A picture that is not in memory yet."""

    @property
    def name(self) -> str:
        """Where it lies, for people."""

    def stamp(self) -> str:
        """What is another whenever the picture has changed, found without decoding it."""

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture, whole and decoded, of 8 bits a channel; InputError if it cannot be read or has more pixels."""


@dataclass(frozen=True, slots=True)
class PictureFile(SourceFile):
    """A picture in a file of its own."""

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """As `read_picture`."""
        return read_picture(Path(self.path), max_pixels)


@dataclass(frozen=True, slots=True, eq=False)
class PictureArray:
    """A picture that is an array already, (H, W) or (H, W, C) uint8, in memory or mapped.

    stored: what is another whenever the file that it is mapped from has changed.
    """

    name: str
    values: np.ndarray
    stored: str | None = None

    def stamp(self) -> str:
        """That of the file, or else a hash of the values."""
        return self.stored or hash_array(self.values)

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture of these values."""
        return Image.fromarray(np.ascontiguousarray(self.values))


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One picture, whole and decoded, of 8 bits a channel."""
    name = legible(str(path))
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{name}: no such file; give a picture or a folder of pictures")
    try:
        with path.open("rb") as file:
            return decode_picture(file, name, max_pixels)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); give a picture") from None


def is_picture(name: str, head: bytes) -> bool:
    """Whether a file is a picture that is read, by its name or else by its first `HEAD` bytes."""
    suffix = PurePath(name).suffix.lower()
    is_other = suffix in UNREAD_SUFFIXES
    return suffix in SUFFIXES or (
        not is_other and (head.startswith(MAGIC) or head[8:12] == b"WEBP" or head[4:12] in (b"ftypavif", b"ftypavis"))
    )


def find_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures in a folder and below it, in order of name, and those that are of kinds that are not read."""
    found, unread = [], []
    for path in list_files(folder):
        if path.suffix.lower() in UNREAD_SUFFIXES:
            unread.append(path)
        elif is_picture(path.name, b""):
            found.append(path)
        else:
            with suppress(OSError), path.open("rb") as file:
                found += [path] if is_picture(path.name, file.read(HEAD)) else []
    return found, unread


def list_pictures(path: Path) -> list[Path]:
    """A picture file, or every picture in a folder and below it, in order of name."""
    return find_pictures(path)[0] if path.is_dir() else [path]


def write_picture(path: Path, picture: Image.Image, text: Mapping[str, str] | None = None) -> Path:
    """Write a PNG, whole or not at all. text: what it tells of itself, a text chunk each."""
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", pnginfo=chunks)
    write_file(path, encoded.getvalue())
    return path


def contact_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in a grid, a gap between them; the pictures of a row are of one height, all of one width."""
    width, columns = rows[0][0].width, max(len(row) for row in rows)
    tops = [sum(row[0].height + GAP for row in rows[:y]) for y in range(len(rows) + 1)]
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, tops[-1] - GAP), "white")
    for top, row in zip(tops, rows, strict=False):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + GAP), top))
    return sheet


def to_images(pictures: Tensor) -> list[Image.Image]:
    """Pictures (n, C, H, W) uint8, grey or RGB, for Pillow."""
    arrays = pictures.permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(a[..., 0] if a.shape[-1] == 1 else a)) for a in arrays]


def content(image: Image.Image) -> str:
    """A name for what the picture shows, whatever file it came from."""
    return hash_array(np.asarray(image))


def hash_array(values: np.ndarray) -> str:
    """A name for an array's values and shape."""
    return digest(values, size=12)
