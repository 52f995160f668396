"""Data sets of labelled pictures from the Hugging Face Hub, or Parquet files of that layout in a folder."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete import hub
from synesthete.config.build import shorten
from synesthete.data.files import SPLITS, Split
from synesthete.data.found_pairs import FoundPairs, ImageEntry
from synesthete.data.pictures import PictureSource
from synesthete.picture_decoder import MAX_PIXELS, decode_picture
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

FIELD = "data.sources.hubpictures.name"
# What data sets call their splits, the likelier first.
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation", "valid", "dev")}
# `train-00000-of-00002.parquet`, some with a hash after it, or `train/0000.parquet`.
SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?")


class HubPictures(PictureSource):
    """A data set of the Hugging Face Hub that keeps pictures and their classes in Parquet files.

    A class goes by the name that the files tell for its number, by its text, or else by its number. Rows without a
    class, as in a test split whose labels are kept secret, are left out. The test split is the data set's own, its
    validation split where there is no other, or else taken out of the training one. Every picture is decoded when it
    is needed, from where it lies.

    Args:
        name: the data set's id (owner/name), or a folder of such files.
        image, label: the columns of encoded pictures and of their classes.
        splits: "train" and "test" -> what the data set calls them, where it is not train and test or validation.
        subset: the folder of the files, where the data set has several.
        num_test: pictures held out where there is no test split; None holds out a tenth.

    Raises:
        InputError: a split that is neither train nor test.
    """

    def __init__(
        self,
        name: str,
        image: str = "image",
        label: str = "label",
        splits: dict[str, str] | None = None,
        subset: str | None = None,
        num_test: int | None = None,
    ) -> None:
        for own in splits or ():
            if own not in SPLITS:
                raise InputError(f"splits of {name}: no split {own!r} here; name the data set's own for train and test")
        self.name, self.image, self.label = name, image, label
        self.splits, self.subset, self.num_test = splits or {}, subset, num_test

    def listing(self) -> FoundPairs:
        """Every picture with a class, in the order of the files.

        Raises:
            InputError: no such data set, no connection, a gated one, files of another layout, no such column, or no
                picture with a class.
        """
        return self._listing

    @cached_property
    def _listing(self) -> FoundPairs:
        folder, listing = self._find(), FoundPairs()
        files = self._by_split(folder)
        for own in SPLITS:
            self._read(listing, folder, files, own)
            if own == "train" and not listing.pictures:
                raise InputError(f"{self.name}: no row of its training split has a class; set label to another column")
        return listing

    def _called(self, own: Split) -> tuple[str, ...]:
        """What the data set may call a split."""
        return (self.splits[own],) if own in self.splits else NAMES[own]

    def _find(self) -> Path:
        """The folder of the files, all of those that their names count."""
        if Path(self.name).expanduser().is_dir():
            folder = Path(self.name).expanduser()
            self._check_whole(folder)
            return folder
        above = f"*{self.subset}/" if self.subset else ""
        patterns = [f"{above}*{called}*.parquet" for own in SPLITS for called in self._called(own)]
        folder = hub.find_weights(self.name, patterns, field=FIELD, kind="dataset")
        try:
            self._check_whole(folder)
        except InputError:  # a download that was killed
            folder = hub.download(self.name, patterns=patterns, field=FIELD, kind="dataset")
            self._check_whole(folder)
        return folder

    def _check_whole(self, folder: Path) -> None:
        there: dict[tuple[Path, str, str], int] = {}
        for file in folder.rglob("*.parquet"):
            if named := SHARD.fullmatch(file.stem):
                series = (file.parent, named["split"], named["total"])
                there[series] = there.get(series, 0) + 1
        for (place, split, total), num in there.items():
            if num != int(total):
                raise InputError(f"{place}: {num} of {int(total)} Parquet files of {split!r}; download the others")

    def _by_split(self, folder: Path) -> dict[str, list[Path]]:
        """The files of each split that the data set has, by what it calls it.

        Raises:
            InputError: no training split, or several subsets.
        """
        files: dict[str, list[Path]] = {}
        subsets = set()
        for file in sorted(folder.rglob("*.parquet")):
            split, subset = place_of(file.relative_to(folder))
            if self.subset in (None, subset):
                files.setdefault(split, []).append(file)
                subsets.add(subset)
        if len(subsets) > 1:
            raise InputError(f"{self.name}: several subsets; set subset to one of {', '.join(sorted(subsets))}")
        if not any(called in files for called in self._called("train")):
            there = ", ".join(sorted(files)) or "none"
            raise InputError(
                f"{self.name}: no Parquet files of split {' or '.join(map(repr, self._called('train')))}; "
                f"set splits to what it has: {there}"
            )
        if "test" in self.splits and self.splits["test"] not in files:
            raise InputError(f"{self.name}: no split {self.splits['test']!r}; there: {', '.join(sorted(files))}")
        return files

    def _read(self, listing: FoundPairs, folder: Path, files: dict[str, list[Path]], own: Split) -> None:
        """Add the rows with a class of the first of the split's names that has any."""
        for called in self._called(own):
            found: list[ImageEntry] = []
            rows = 0
            for file in files.get(called, ()):
                above = file.relative_to(folder).as_posix()
                for row, label in zip(list_rows(file, self.image), read_labels(file, self.label), strict=True):
                    rows += 1
                    if label is not None:  # placed by file and row: the paths that rows tell need not differ
                        found.append(ImageEntry(row, label, f"{above}/{row.group}/{row.row}", own))
            if rows > len(found):
                without = rows - len(found)
                listing.notes.append(f"{self.name}: {without} rows of split {called} without a class left out")
            if found:
                listing.pictures += found
                return


def place_of(path: Path) -> tuple[str, str]:
    """The split that a file's path tells, and the subset: the folder above it, "." where there is none.

    `plain_text/train-00000-of-00001.parquet` and `plain_text/train/0000.parquet` are both train of plain_text.
    """
    if path.stem.isdigit():
        return path.parent.name, path.parent.parent.as_posix()
    named = SHARD.fullmatch(path.stem)
    return named["split"] if named else path.stem, path.parent.as_posix()


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

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture decoded; its group is read as a whole and kept for the next."""
        content = read_group(self.file, self.changed, self.group, self.column)[self.row]
        return decode_picture(io.BytesIO(content or b""), self.name, max_pixels)


def list_rows(file: Path, column: str = IMAGE) -> Iterator[PictureRow]:
    """Every picture of a file, as they come; its path is read, its bytes are not."""
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

    A number goes by itself where the file tells no names. None, empty text, and a number below 0, which is how a hidden
    label is published, are None.
    """
    opened = open_parquet(file)
    check_column(opened, column, file, "label")
    with in_one_line(file):
        values = opened.read(columns=[column])[column].to_pylist()
    return name_values(values, class_names(opened.schema_arrow.metadata or {}, column), file)


def name_values(values: Sequence[Any], names: Sequence[str], file: Path, field: str = "label") -> list[str | None]:
    """What each value of a column is called, as of `read_labels`. names: of its numbers. field: that names the column.

    Raises:
        InputError: neither text nor whole numbers, or a number beyond the names.
    """
    labels: list[str | None] = []
    for value in values:
        if isinstance(value, str) or value is None:
            labels.append((value or "").strip() or None)
        elif not isinstance(value, int):
            raise InputError(
                f"{file}: {field} {shorten(value)} is neither text nor a whole number; set {field} to another column"
            )
        elif names and value >= len(names):
            raise InputError(f"{file}: {field} {value} of {len(names)} named classes; download the file again")
        else:
            labels.append(None if value < 0 else names[value] if names else str(value))
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
    """Whatever a damaged file makes the library say, in one line."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file}: {found} ({' '.join(str(error).split())}); download it again") from None
