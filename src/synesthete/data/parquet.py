"""Pictures and their classes in Parquet files, as the Hugging Face Hub keeps data sets of pictures.

Read by pyarrow, from where they lie: `datasets` would write all of them again, into Arrow files of its own.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.data.picture import decode_picture
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

GROUPS_KEPT = 4
IMAGE = "image"
FEATURES = b"huggingface"  # under this key a file's schema tells what its columns are


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A picture in a Parquet file: a row of one of its groups, in a column of encoded pictures.

    place: the path that the row itself tells, its name in the data set; its number in the file where it tells none.
    changed: the file's time of change.
    """

    file: str
    changed: int
    group: int
    row: int
    place: str
    column: str = IMAGE

    @property
    def name(self) -> str:
        """The file and the path that the row tells."""
        return f"{self.file}/{self.place}"

    def stamp(self) -> str:
        """The file, its time of change, and the place in it."""
        column = "" if self.column == IMAGE else f" {self.column}"
        return f"{self.file} {self.changed} {self.group} {self.row}{column}"

    def read(self) -> Image.Image:
        """The picture decoded; its group is read as a whole and kept for the next."""
        content = read_group(self.file, self.changed, self.group, self.column)[self.row]
        return decode_picture(io.BytesIO(content or b""), self.name)


def list_rows(file: Path, column: str = IMAGE) -> Iterator[PictureRow]:
    """Every picture of a file, as they come; its path is read, its bytes are not.

    Raises:
        InputError: a damaged file, or one without that column of pictures.
    """
    opened = open_parquet(file)
    check_column(opened, column, file, "image")
    kind = opened.schema_arrow.field(column).type
    fields = [kind.field(i).name for i in range(kind.num_fields)]  # none where the column is of bytes itself
    if "bytes" not in fields and "binary" not in str(kind):
        raise InputError(f"{file}: column {column!r} holds {kind}, no encoded pictures; set image to one that does")
    changed, first = file.stat().st_mtime_ns, 0
    for group in range(opened.num_row_groups):
        places: list[str | None] = [None] * opened.metadata.row_group(group).num_rows
        if "path" in fields:
            with in_one_line(file):
                values = opened.read_row_group(group, columns=[f"{column}.path"])[column].to_pylist()
                places = [value["path"] if value else None for value in values]
        for row, place in enumerate(places):
            yield PictureRow(str(file), changed, group, row, place or str(first + row), column)
        first += len(places)


@lru_cache(maxsize=GROUPS_KEPT)
def read_group(file: str, changed: int, group: int, column: str = IMAGE) -> list[bytes | None]:
    """The encoded pictures of a row group.

    Raises:
        InputError: a damaged file.
    """
    opened = open_parquet(Path(file))
    whole = f"{column}.bytes" not in {opened.schema.column(i).path for i in range(len(opened.schema))}
    with in_one_line(Path(file)):
        values = opened.read_row_group(group, columns=[column if whole else f"{column}.bytes"])[column].to_pylist()
        return values if whole else [value["bytes"] if value else None for value in values]


def read_labels(file: Path, column: str = "label") -> list[str | None]:
    """The class name of every row: the text of the column, or the name that the file tells for its number.

    A number goes by itself where the file tells no names. None, and a number below 0, which is how a hidden label is
    published, are None.

    Raises:
        InputError: a damaged file, no such column, or a number beyond the names.
    """
    opened = open_parquet(file)
    check_column(opened, column, file, "label")
    names = class_names(opened.schema_arrow.metadata or {}, column)
    with in_one_line(file):
        values = opened.read(columns=[column])[column].to_pylist()
    labels: list[str | None] = []
    for value in values:
        hidden = value is None or (isinstance(value, int) and value < 0)
        if not hidden and names and isinstance(value, int) and value >= len(names):
            raise InputError(f"{file}: label {value} of {len(names)} named classes; download the file again")
        labels.append(None if hidden else names[value] if names and isinstance(value, int) else str(value))
    return labels


def class_names(metadata: dict[bytes, bytes], column: str) -> list[str]:
    """The names that a schema's metadata tells for the numbers of a column, in their order; none if it tells none."""
    try:
        return [str(name) for name in json.loads(metadata[FEATURES])["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def open_parquet(file: Path) -> Any:
    """A Parquet file, open.

    Raises:
        InputError: a damaged file.
    """
    from pyarrow import parquet

    with in_one_line(file, "no Parquet with a column of pictures"):
        return parquet.ParquetFile(file)


def check_column(opened: Any, column: str, file: Path, field: str) -> None:
    """Refuse a file without a column; field: of the source, that names it."""
    names = opened.schema_arrow.names
    if column not in names:
        raise InputError(f"{file}: no column {column!r}; set {field} to one of {', '.join(map(repr, names))}")


@contextmanager
def in_one_line(file: Path, found: str = "damaged") -> Iterator[None]:
    """Whatever a damaged file makes the library say, in one line.

    Raises:
        InputError: the file is damaged.
    """
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file}: {found} ({' '.join(str(error).split())}); download it again") from None
