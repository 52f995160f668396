"""One picture: where it lies until it is needed, and how it is read and written."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from synesthete.data.files import SourceFile, list_files
from synesthete.io import digest, write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

    from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Picture(Protocol):
    """A picture that is not in memory yet."""

    @property
    def name(self) -> str:
        """Where it lies, for people."""
        ...

    def stamp(self) -> str:
        """What is another whenever the picture has changed, found without decoding it."""
        ...

    def read(self) -> Image.Image:
        """The picture, whole and decoded.

        Raises:
            InputError: it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class PictureFile(SourceFile):
    """A picture in a file of its own."""

    def read(self) -> Image.Image:
        """As `read_picture`."""
        return read_picture(Path(self.path))


@dataclass(frozen=True, slots=True)
class PictureBytes:
    """An encoded picture inside an archive: `size` bytes from `first` on of the mapped file that holds it.

    archive: what is another whenever the archive has changed.
    """

    name: str
    archive: str
    content: mmap
    first: int
    size: int

    def stamp(self) -> str:
        """The archive's stamp and the place in it."""
        return f"{self.archive} {self.name} {self.first} {self.size}"

    def read(self) -> Image.Image:
        """The picture decoded."""
        return decode_picture(io.BytesIO(self.content[self.first : self.first + self.size]), self.name)


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

    def read(self) -> Image.Image:
        """The picture of these values."""
        return Image.fromarray(np.ascontiguousarray(self.values))


def read_picture(path: Path) -> Image.Image:
    """One picture, whole and decoded.

    Raises:
        InputError: no such file, not a picture, or cut off.
    """
    try:
        with path.open("rb") as file:
            return decode_picture(file, str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a picture or a folder of pictures") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a picture") from None


def decode_picture(file: BinaryIO, name: str) -> Image.Image:
    """The picture in an open file, whole and decoded.

    Raises:
        InputError: not a picture, or cut off.
    """
    try:
        with Image.open(file) as image:
            image.load()
            return image.copy()
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture; give a {', '.join(SUFFIXES[:3])} file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: a damaged picture ({error}); replace or remove it") from None


def list_pictures(path: Path) -> list[Path]:
    """A picture file, or every picture in a folder and below it, in order of name."""
    return [path] if path.is_file() else list_files(path, SUFFIXES)


def write_picture(path: Path, picture: Image.Image, text: Mapping[str, str] | None = None) -> Path:
    """Write a PNG, whole or not at all. text: what it tells of itself, a text chunk each.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", pnginfo=chunks)
    write_file(path, encoded.getvalue())
    return path


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
