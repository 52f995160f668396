"""Data sets of labelled pictures from the Hugging Face Hub, or Parquet files of that layout in a folder."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete import hub
from synesthete.data.files import SPLIT_FOLDERS, SPLITS
from synesthete.data.parquet import list_rows, read_labels
from synesthete.data.pictures import Listed, PictureSource, divide
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.files import Split
    from synesthete.data.pictures import Pictures

FIELD = "data.sources.hubpictures.name"
# What data sets call their splits, the likelier first.
NAMES: dict[Split, tuple[str, ...]] = {
    own: tuple(name for name, split in SPLIT_FOLDERS.items() if split == own) for own in SPLITS
}
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

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, in the order of the files.

        Raises:
            InputError: no such data set, no connection, a gated one, files of another layout, no such column, or no
                picture with a class.
        """
        return divide(self._listed, self.num_test, split)

    @cached_property
    def _listed(self) -> list[Listed]:
        """Every picture with a class; without a split of its own where the data set has but one."""
        folder = self._find()
        files = self._by_split(folder)
        found = {own: self._read(folder, files, own) for own in SPLITS}
        if not found["train"]:
            raise InputError(f"{self.name}: no row of its training split has a class; set label to another column")
        return found["train"] + found["test"] if found["test"] else [e._replace(split=None) for e in found["train"]]

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

    def _read(self, folder: Path, files: dict[str, list[Path]], own: Split) -> list[Listed]:
        """The rows with a class of the first of the split's names that has any."""
        for called in self._called(own):
            listed: list[Listed] = []
            for file in files.get(called, ()):
                rows = zip(list_rows(file, self.image), read_labels(file, self.label), strict=True)
                above = file.relative_to(folder).as_posix()
                # By file and row: the paths that rows tell need not differ.
                listed += [
                    Listed(row, label, f"{above}/{row.group}/{row.row}", own)
                    for row, label in rows
                    if label is not None
                ]
            if listed:
                return listed
        return []


def place_of(path: Path) -> tuple[str, str]:
    """The split that a file's path tells, and the subset: the folder above it, "." where there is none.

    `plain_text/train-00000-of-00001.parquet` and `plain_text/train/0000.parquet` are both train of plain_text.
    """
    if path.stem.isdigit():
        return path.parent.name, path.parent.parent.as_posix()
    named = SHARD.fullmatch(path.stem)
    return named["split"] if named else path.stem, path.parent.as_posix()
