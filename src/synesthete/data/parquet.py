"""Pictures in Parquet files, as the Hugging Face Hub keeps data sets of pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from synesthete.data.picture import decode_picture
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

GROUPS_KEPT = 4


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A picture in the column `image` (`bytes`, `path`) of a Parquet file: a row of one of its groups.

    place: the path that the row itself tells, its name in the data set. changed: the file's time of change.
    """

    file: str
    changed: int
    group: int
    row: int
    place: str

    @property
    def name(self) -> str:
        """The file and the path that the row tells."""
        return f"{self.file}/{self.place}"

    def stamp(self) -> str:
        """The file, its time of change, and the place in it."""
        return f"{self.file} {self.changed} {self.group} {self.row}"

    def read(self) -> Image.Image:
        """The picture decoded; its group is read as a whole and kept for the next."""
        content = read_group(self.file, self.changed, self.group)[self.row]
        return decode_picture(io.BytesIO(content or b""), self.name)


def list_rows(file: Path) -> Iterator[PictureRow]:
    """Every picture of a file, as they come; its path is read, its bytes are not.

    Raises:
        InputError: pyarrow is not installed, a damaged file, or one without a column of pictures.
    """
    changed = file.stat().st_mtime_ns
    for group, places in enumerate(read_places(file)):
        yield from (PictureRow(str(file), changed, group, row, place) for row, place in enumerate(places))


def read_places(file: Path) -> list[list[str]]:
    """The column `image.path`, by row group."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(
            f"{file}: Parquet needs the package pyarrow; pip install 'synesthete[parquet]', or give a folder"
        ) from None
    try:
        opened = parquet.ParquetFile(file)
        groups = (opened.read_row_group(i, columns=["image.path"]) for i in range(opened.num_row_groups))
        return [[str(value["path"]) for value in group["image"].to_pylist()] for group in groups]
    except (ArrowException, OSError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: no Parquet with a column of pictures ({reason}); download it again") from None


@lru_cache(maxsize=GROUPS_KEPT)
def read_group(file: str, changed: int, group: int) -> list[bytes | None]:
    """The encoded pictures of a row group.

    Raises:
        InputError: a damaged file.
    """
    from pyarrow import ArrowException, parquet

    try:
        column = parquet.ParquetFile(file).read_row_group(group, columns=["image.bytes"])["image"]
        return [value["bytes"] for value in column.to_pylist()]
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({' '.join(str(error).split())}); download it again") from None
