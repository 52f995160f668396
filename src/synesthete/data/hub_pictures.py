"""Data sets of labelled pictures from the Hugging Face Hub, or Parquet files of that layout in a folder."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from synesthete import hub
from synesthete.data.files import SPLITS, Split
from synesthete.data.found_pairs import FoundPairs, ImageEntry
from synesthete.data.packed import IMAGE, TableFile
from synesthete.data.pictures import PictureSource
from synesthete.types import InputError

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
        image: str = IMAGE,
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
        folder = Path(self.name).expanduser()
        if not folder.is_dir():
            above = f"*{self.subset}/" if self.subset else ""
            patterns = [f"{above}*{called}*.parquet" for own in SPLITS for called in self._called(own)]
            folder = hub.find_weights(self.name, patterns, field=FIELD, kind="dataset")
            with suppress(InputError):
                return check_whole(folder)
            folder = hub.download(self.name, patterns=patterns, field=FIELD, kind="dataset")  # the last one was killed
        return check_whole(folder)

    def _by_split(self, folder: Path) -> dict[str, list[Path]]:
        """The files of each split that the data set has, by what it calls it."""
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
            missing, there = " or ".join(map(repr, self._called("train"))), ", ".join(sorted(files)) or "none"
            raise InputError(f"{self.name}: no Parquet files of split {missing}; set splits to what it has: {there}")
        if "test" in self.splits and self.splits["test"] not in files:
            raise InputError(f"{self.name}: no split {self.splits['test']!r}; there: {', '.join(sorted(files))}")
        return files

    def _read(self, listing: FoundPairs, folder: Path, files: dict[str, list[Path]], own: Split) -> None:
        """Add the rows with a class of the first of the split's names that has any."""
        for called in self._called(own):
            found, without = list[ImageEntry](), 0
            for file in files.get(called, ()):
                above, table = file.relative_to(folder).as_posix(), TableFile(file)
                cells, labels = table.pictures(self.image), table.labels(table.checked(self.label, "label"))
                without += labels.count(None)
                # Placed by file and row: the paths that rows tell need not differ.
                found += [
                    ImageEntry(cell, label, f"{above}/{cell.group}/{cell.row}", own)
                    for cell, label in zip(cells, labels, strict=True)
                    if label is not None
                ]
            if without:
                listing.notes.append(f"{self.name}: {without} rows of split {called} without a class left out")
            if found:
                listing.pictures += found
                return


def check_whole(folder: Path) -> Path:
    """The folder; refused where files of a series are missing."""
    named = [(file.parent, found) for file in folder.rglob("*.parquet") if (found := SHARD.fullmatch(file.stem))]
    for (place, split, total), num in Counter((place, one["split"], one["total"]) for place, one in named).items():
        if num != int(total):
            raise InputError(f"{place}: {num} of {int(total)} Parquet files of {split!r}; download the others")
    return folder


def place_of(path: Path) -> tuple[str, str]:
    """The split that a file's path tells, and the subset: the folder above it, "." where there is none.

    `plain_text/train-00000-of-00001.parquet` and `plain_text/train/0000.parquet` are both train of plain_text.
    """
    if path.stem.isdigit():
        return path.parent.name, path.parent.parent.as_posix()
    named = SHARD.fullmatch(path.stem)
    return named["split"] if named else path.stem, path.parent.as_posix()
