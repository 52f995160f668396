"""Encoded pictures and sounds inside other files, read where they lie: in a tar, or in a Parquet or Arrow table."""

from __future__ import annotations

import io
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.config.build import shorten
from synesthete.data.audio import SoundFile
from synesthete.data.files import legible
from synesthete.data.recordings import Recording
from synesthete.io import digest
from synesthete.picture_decoder import MAX_PIXELS, decode_picture
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

ARROW, PARQUET = ".arrow", ".parquet"
IMAGE = "image"
FEATURES = b"huggingface"  # under this key a file's schema tells what its columns are


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes of a file, which stays mapped. changed: its time of change, in nanoseconds. stored: their stamp."""

    name: str
    stored: str
    file: str
    changed: int
    first: int
    size: int

    def stamp(self) -> str:
        """What is another whenever the bytes are."""
        return self.stored

    def load(self) -> bytes:
        """The bytes."""
        try:
            return map_file(self.file, self.changed)[self.first : self.first + self.size]
        except (OSError, ValueError) as error:
            raise InputError(
                f"{legible(self.file)}: cannot be read ({error}); give it back its place, or prepare again"
            ) from None

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture decoded."""
        return decode_picture(io.BytesIO(self.load()), self.name, max_pixels)


@dataclass(frozen=True, slots=True)
class TableCell:
    """What a row of a Parquet or Arrow file holds in a column: bytes, or {bytes, path}, as Hugging Face writes it.

    changed: the file's time of change, in nanoseconds. row: in its group. place: what it is called in the file.
    """

    file: str
    changed: int
    group: int
    row: int
    column: str
    place: str

    @property
    def name(self) -> str:
        """The file and the place in it."""
        return f"{self.file}/{self.place}"

    def stamp(self) -> str:
        """The file, its time of change, and where in it."""
        column = "" if self.column == IMAGE else f" {self.column}"
        return f"{self.file} {self.changed} {self.group} {self.row}{column}"

    def load(self) -> bytes:
        """The bytes; a Parquet file's group is read as a whole and kept for the next."""
        with in_one_line(Path(self.file)):
            value = read_group(self.file, self.changed, self.group, self.column)[self.row].as_py()
            content = bytes((value.get("bytes") if isinstance(value, dict) else value) or b"")
        if not content:
            raise InputError(f"{self.file}: row {self.row} of {self.column!r} holds no bytes; save it with them")
        return content

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture decoded."""
        return decode_picture(io.BytesIO(self.load()), self.name, max_pixels)


Packed = Slice | TableCell  # an encoded sound, or a picture, as which it is read


@dataclass(frozen=True, slots=True)
class RecordingBytes(Recording):
    """An encoded sound. path: its name."""

    where: Packed

    def stamp(self) -> str:
        """That of the file that holds it, and the place in it."""
        return self.where.stamp()

    def content(self) -> str:
        """A hash of the encoded sound."""
        return digest(self.where.load(), size=12)

    def opened(self) -> SoundFile:
        """The sound, to be decoded."""
        return SoundFile(self.name, self.where.load())


class TableFile:
    """A Parquet file, or an Arrow file as `datasets` saves it. What is encoded in it is not read."""

    def __init__(self, file: Path) -> None:
        self.file, self.changed = file, file.stat().st_mtime_ns
        self._opened = open_table(str(file), self.changed)
        self.is_parquet = hasattr(self._opened, "schema_arrow")
        self.schema = self._opened.schema_arrow if self.is_parquet else self._opened.schema
        try:
            self.features: dict[str, Any] = dict(json.loads((self.schema.metadata or {})[FEATURES])["info"]["features"])
        except (KeyError, TypeError, ValueError):
            self.features = {}

    @property
    def columns(self) -> str:
        """The names of the columns, for people."""
        return ", ".join(map(repr, self.schema.names))

    def holds_bytes(self, column: str) -> bool:
        """Whether a column is of encoded pictures or sounds."""
        return re.search("binary|bytes", str(self.schema.field(column).type)) is not None

    def checked(self, column: str, field: str, encoded: bool = False) -> str:
        """A column that is there, and if it has to be is `encoded`. field: of the source, that names it."""
        if column not in self.schema.names:
            raise InputError(f"{self.file}: no column {column!r}; set {field} to one of {self.columns}")
        if encoded and not self.holds_bytes(column):
            held = f"{self.schema.field(column).type}, no encoded {'pictures' if field == IMAGE else 'sounds'}"
            raise InputError(f"{self.file}: column {column!r} holds {held}; set {field} to one of {self.columns}")
        return column

    def pictures(self, column: str) -> list[TableCell]:
        """The rows' pictures, each called by the path that its row tells, or else by its number."""
        kind = self.schema.field(self.checked(column, "image", encoded=True)).type
        told: list[Any] = [None] * self.num_rows
        if "path" in [kind.field(i).name for i in range(kind.num_fields)]:
            told = self._values(column, f"{column}.path")
        return self.cells(column, [(value and value["path"]) or str(number) for number, value in enumerate(told)])

    def cells(self, column: str, places: Iterable[str]) -> list[TableCell]:
        """What a column of encoded pictures or sounds holds, row by row."""
        rows = ((group, row) for group, size in enumerate(self._sizes()) for row in range(size))
        file = str(self.file)
        return [TableCell(file, self.changed, *at, column, place) for at, place in zip(rows, places, strict=True)]

    def labels(self, column: str, field: str = "label") -> list[str | None]:
        """What every row's value is called: its text, or the name that the file tells for its number.

        A number goes by itself where the file tells no names. None, empty text, and a number below 0, which is how a
        hidden label is published, are None. field: of the source, that names the column.
        """
        told = self.features.get(column)
        names = told.get("names") if isinstance(told, dict) else None
        names = names if isinstance(names, list) else []
        labels: list[str | None] = []
        for value in self._values(column, column):
            if isinstance(value, str) or value is None:
                labels.append((value or "").strip() or None)
            elif not isinstance(value, int):
                raise InputError(
                    f"{self.file}: {field} {shorten(value)} is neither text nor a whole number; set {field} to another "
                    "column"
                )
            elif names and value >= len(names):
                raise InputError(f"{self.file}: {field} {value} of {len(names)} named classes; download the file again")
            else:
                labels.append(None if value < 0 else str(names[value] if names else value))
        return labels

    @property
    def num_rows(self) -> int:
        """Of the file."""
        return sum(self._sizes())

    def _sizes(self) -> Sequence[int]:
        """Rows of each group; an Arrow file, which is mapped, is one."""
        if not self.is_parquet:
            return (len(self._opened),)
        return [self._opened.metadata.row_group(i).num_rows for i in range(self._opened.num_row_groups)]

    def _values(self, column: str, part: str) -> list[Any]:
        """A column in memory, of a Parquet file only a part of it."""
        with in_one_line(self.file):
            table = self._opened.read(columns=[part]) if self.is_parquet else self._opened
            return table[column].to_pylist()


@lru_cache(maxsize=64)
def map_file(file: str, changed: int) -> mmap.mmap:
    """A file mapped into memory, as it was when it changed last."""
    with Path(file).open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


@lru_cache(maxsize=4)
def read_group(file: str, changed: int, group: int, column: str) -> Any:
    """A column of a group of rows: of a Parquet file in memory, of an Arrow file mapped."""
    opened = open_table(file, changed)
    return (opened.read_row_group(group, columns=[column]) if hasattr(opened, "schema_arrow") else opened)[column]


def open_table(file: str, changed: int) -> Any:
    """A Parquet file, open, or the whole table of an Arrow file."""
    if file.lower().endswith(ARROW):
        return map_table(file, changed)
    from pyarrow import parquet

    with in_one_line(Path(file), "no Parquet with a column of pictures"):
        return parquet.ParquetFile(file)


@lru_cache(maxsize=16)
def map_table(file: str, changed: int) -> Any:
    """The table of an Arrow file, as `datasets` writes it, mapped into memory."""
    import pyarrow

    with in_one_line(Path(file), "no Arrow file as `datasets` saves it"):
        mapped = pyarrow.memory_map(file)
        try:
            return pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            return pyarrow.ipc.open_file(mapped).read_all()


@contextmanager
def in_one_line(file: Path, found: str = "damaged") -> Iterator[None]:
    """Whatever a damaged file makes the library say, in one line."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file}: {found} ({' '.join(str(error).split())}); download it again") from None
