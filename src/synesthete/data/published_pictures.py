"""Published sets of pictures as they are kept: Parquet files of the Hugging Face Hub, ImageNet, and STL-10."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from synesthete import hub
from synesthete.data.files import SPLITS, Split, list_folders
from synesthete.data.found_pairs import FoundPairs, ImageEntry
from synesthete.data.packed import IMAGE, TableFile
from synesthete.data.picture import PictureArray, list_pictures
from synesthete.data.pictures import Pictures, PictureSource, in_folder, split_indices
from synesthete.data.speech.clips import PHRASES
from synesthete.types import InputError

HUB_FIELD = "data.sources.hubpictures.name"
# What data sets call their splits, the likelier first.
CALLED: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation", "valid", "dev")}
# `plain_text/train-00000-of-00002.parquet`, some with a hash after it; or `plain_text/train/0000.parquet`.
SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?")


@dataclass(eq=False)
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

    name: str
    image: str = IMAGE
    label: str = "label"
    splits: dict[str, str] | None = None
    subset: str | None = None
    num_test: int | None = None

    def __post_init__(self) -> None:
        if wrong := [own for own in self.splits or () if own not in SPLITS]:
            raise InputError(
                f"splits of {self.name}: no split {wrong[0]!r} here; name the data set's own for train and test"
            )

    def listing(self) -> FoundPairs:
        """Every picture with a class, in the order of the files."""
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
        given = (self.splits or {}).get(own)
        return (given,) if given else CALLED[own]

    def _find(self) -> Path:
        """The folder of the files, all of those that their names count."""
        folder = Path(self.name).expanduser()
        if not folder.is_dir():
            above = f"*{self.subset}/" if self.subset else ""
            patterns = [f"{above}*{called}*.parquet" for own in SPLITS for called in self._called(own)]
            folder = hub.find_weights(self.name, patterns, field=HUB_FIELD, kind="dataset")
            with suppress(InputError):
                return check_whole(folder)
            # The last download was killed.
            folder = hub.download(self.name, patterns=patterns, field=HUB_FIELD, kind="dataset")
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
        if (given := (self.splits or {}).get("test")) and given not in files:
            raise InputError(f"{self.name}: no split {given!r}; there: {', '.join(sorted(files))}")
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
    """The split that a file's path tells, and the subset: the folder above it, "." where there is none."""
    if path.stem.isdigit():
        return path.parent.name, path.parent.parent.as_posix()
    named = SHARD.fullmatch(path.stem)
    return named["split"] if named else path.stem, path.parent.as_posix()


NAMES = {phrase.wnid: phrase.name for phrase in PHRASES}
FIRST_TEN = tuple(NAMES)
SPLIT_NAMES = {"train": "train", "val": "test"}
WNID = re.compile(r"n\d{8}")
MAPPING = "LOC_synset_mapping.txt"
ROOTS = (".", "ILSVRC/Data/CLS-LOC")
FIELD = "data.sources.imagenet.path"


@dataclass(eq=False)
class ImageNet(PictureSource):
    """ImageNet (Deng et al. 2009): `train/<wnid>/*.JPEG`, or the Parquet files of a Hub data set.

    A class goes by its name: of `names`, of the ten that this package has phrases for, of the `LOC_synset_mapping.txt`
    beside the folders (the first of its synonyms), or else by its id. Classes of one name are one class. The test split
    is `val/<wnid>`, or the Hub's validation split, where there is one; otherwise it is taken out of the training one.

    Args:
        path: the folder that holds `train`, or its parent as Kaggle ships it, or Parquet files; None asks the Hub.
        classes: those to read, by id or name; None reads all. The first ten of a thousand by default.
        names: id -> name, where the names above will not do.
        repository: the Hub data set, about 150 GB; downloaded as a whole, since every file holds every class.
        num_test: pictures held out where there is no validation split; None holds out a tenth.
    """

    path: str | None = None
    classes: tuple[str, ...] | None = FIRST_TEN
    names: dict[str, str] | None = None
    repository: str = "ILSVRC/imagenet-1k"
    num_test: int | None = None

    def listing(self) -> FoundPairs:
        """All pictures of the classes."""
        if self.path is not None and not Path(self.path).is_dir():
            raise InputError(f"{self.path}: no such folder; give the one that holds ImageNet's train/<wnid>")
        patterns = ("data/train-*.parquet", "data/validation-*.parquet")
        folder = Path(self.path) if self.path else hub.find_weights(self.repository, patterns, field=FIELD)
        parquet = sorted(folder.rglob("*.parquet"))
        return FoundPairs(self._from_parquet(parquet) if parquet else self._from_folders(folder))

    def _from_folders(self, folder: Path) -> list[ImageEntry]:
        root = next((folder / root for root in ROOTS if (folder / root / "train").is_dir()), None)
        found = {entry.name for entry in list_folders(root / "train") if WNID.fullmatch(entry.name)} if root else set()
        if root is None or not found:
            raise InputError(f"{folder}: no train/<wnid> in it, such as train/n01440764; give ImageNet's own folder")
        labels = self._chosen(found, read_mapping(folder))
        listed = []
        for name, split in SPLIT_NAMES.items():
            for wnid, label in labels.items():
                if (root / name / wnid).is_dir():
                    files = list_pictures(root / name / wnid)
                    listed += [in_folder(root, file, label, split) for file in files]
        return listed

    def _from_parquet(self, files: Iterable[Path]) -> list[ImageEntry]:
        rows: dict[str, list[ImageEntry]] = {}
        for file in files:
            split = next((own for word, own in SPLIT_NAMES.items() if file.name.startswith(word)), None)
            for cell in TableFile(file).pictures(IMAGE) if split else ():
                if ids := WNID.findall(cell.place):
                    listed = rows.setdefault(ids[-1], [])
                    if self._wants(ids[-1], {}):  # the others, a million, are not kept
                        listed.append(ImageEntry(cell, "", cell.place, split))
        labels = self._chosen(set(rows), {})
        return [entry._replace(label=label) for wnid, label in labels.items() for entry in rows[wnid]]

    def _chosen(self, found: set[str], mapping: dict[str, str]) -> dict[str, str]:
        """The ids to read, in order, with the names that they go by."""
        labels = {wnid: self._label(wnid, mapping) for wnid in sorted(found)}
        for name in self.classes or ():
            if name not in labels and name not in labels.values():
                raise InputError(
                    f"no pictures of class {name!r} among {len(found)} of ImageNet; give classes by id (n01440764) or "
                    "name, and names for ids that this package has none for"
                )
        return {wnid: label for wnid, label in labels.items() if self._wants(wnid, mapping)}

    def _label(self, wnid: str, mapping: dict[str, str]) -> str:
        return (self.names or {}).get(wnid) or NAMES.get(wnid) or mapping.get(wnid, wnid)

    def _wants(self, wnid: str, mapping: dict[str, str]) -> bool:
        return self.classes is None or wnid in self.classes or self._label(wnid, mapping) in self.classes


def read_mapping(folder: Path) -> dict[str, str]:
    """The first synonym of each id in `LOC_synset_mapping.txt` (`n01440764 tench, Tinca tinca`), if it is there."""
    path = folder / MAPPING
    if not path.is_file():
        return {}
    pairs = (line.partition(" ")[::2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {wnid: names.partition(",")[0].strip() for wnid, names in pairs if WNID.fullmatch(wnid) and names.strip()}


@dataclass(eq=False)
class Stl10(PictureSource):
    """STL-10 (Coates, Ng & Lee 2011): 5,000 training and 8,000 test pictures of ten classes, 96x96, 100,000 of none.

    Read from `train_X.bin`, `train_y.bin`, `test_X.bin` and `test_y.bin`, and where asked for `unlabeled_X.bin` and
    `fold_indices.txt`; files of the same layout with any number of pictures and classes are read as well. Classes go by
    `class_names.txt`, or by the published names where it is missing. Files are mapped, pictures decoded one by one.

    Args:
        path: the folder `stl10_binary`, or its parent.
        fold: train on one of the ten published folds of 1,000 training pictures, 0 to 9; None takes all.
        num_test: hold out so many of the test pictures and train on the others as well; None holds out all of them.
        unlabeled: in place of the classes, the pictures without one, named "unlabeled"; a tenth of them is the test
            split, or `num_test`.
    """

    path: str | None = None
    fold: int | None = None
    num_test: int | None = None
    unlabeled: bool = False

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, in the order of the files."""
        if self.path is None:
            raise InputError(f"STL-10: no folder given; unpack {WHERE} (2.6 GB) and give the path of its stl10_binary")
        folder = Path(self.path)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; unpack {WHERE} (2.6 GB) there")
        folder = folder / "stl10_binary" if (folder / "stl10_binary").is_dir() else folder
        if self.unlabeled:
            if self.fold is not None:
                raise InputError("STL-10's folds are of pictures with a class; leave out either fold or unlabeled")
            stored = map_pictures(folder / f"{UNLABELED}_X.bin")
            chosen = self._divided(len(stored), split)
            return Pictures([stored[i] for i in chosen], [UNLABELED] * len(chosen))
        found = read_part(folder, split)
        if split == "train" and self.fold is not None:
            found = found.take(read_fold(folder / FOLD_FILE, self.fold, len(found)))
        if self.num_test is None:
            return found
        tests = found if split == "test" else read_part(folder, "test")
        chosen_tests = tests.take(self._divided(len(tests), split))
        if split == "test":
            return chosen_tests
        found.extend(chosen_tests)
        return found

    def _divided(self, num: int, split: Split) -> list[int]:
        """Which of `num` pictures belong to a split."""
        num_test = num // 10 if self.num_test is None else self.num_test
        if not 0 <= num_test <= num:
            raise InputError(f"num_test {num_test}: STL-10's files hold {num} pictures to hold out; give 0 to {num}")
        return split_indices(num, num_test, split)


SIZE = 96
# Red, green, blue, each column by column from the left: the file's order of (channel, x, y).
STORED = (3, SIZE, SIZE)
NUM_BYTES = 3 * SIZE * SIZE
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
CLASS_FILE, FOLD_FILE, UNLABELED = "class_names.txt", "fold_indices.txt", "unlabeled"
WHERE = "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"


def read_part(folder: Path, part: Split) -> Pictures:
    """The pictures of `PART_X.bin` with the names of their labels in `PART_y.bin`."""
    names = read_names(folder)
    path = folder / f"{part}_y.bin"
    labels = map_bytes(path)
    wrong = np.flatnonzero((labels < 1) | (labels > len(names)))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{path}: label {labels[first]} of picture {first}; need 1 to {len(names)}, the lines of {CLASS_FILE}"
        )
    return Pictures(
        list(map_pictures(folder / f"{part}_X.bin", len(labels))), [names[int(label) - 1] for label in labels]
    )


def map_pictures(path: Path, num: int | None = None) -> list[PictureArray]:
    """The pictures of a file, mapped and not read. num: how many labels they have, where they have any."""
    content = map_bytes(path)
    found = len(content)
    if num is not None and found != num * NUM_BYTES:
        labels = path.name.replace("_X", "_y")
        expected = f"expected {num * NUM_BYTES:,} ({num:,} labels in {labels}, {NUM_BYTES:,} bytes a picture)"
        raise InputError(f"{path}: {found:,} bytes, {expected}; copy both again from {WHERE}")
    if not found or found % NUM_BYTES:
        expected = f"expected a multiple of {NUM_BYTES:,} (one 96x96 RGB picture)"
        raise InputError(f"{path}: {found:,} bytes, {expected}; copy it again from {WHERE}")
    values = content.reshape(-1, *STORED).transpose(0, 3, 2, 1)
    stamp = f"{path} {found} {path.stat().st_mtime_ns}"
    return [PictureArray(f"{path} {i}", pixels, f"{stamp} {i}") for i, pixels in enumerate(values)]


def read_names(folder: Path) -> tuple[str, ...]:
    """The class names, one a line in `class_names.txt`; label 1 is the first."""
    path = folder / CLASS_FILE
    if not path.is_file():
        return CLASSES
    return tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8", errors="replace").splitlines())))


def read_fold(path: Path, fold: int, num: int) -> list[int]:
    """Which of `num` training pictures belong to a fold: the numbers, from 0, of its line in `fold_indices.txt`."""
    check_file(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not 0 <= fold < len(lines):
        raise InputError(f"{path}: no fold {fold} among its {len(lines)}, which count from 0; give another, or none")
    words = lines[fold].split()
    if not words or not all(word.isdecimal() and int(word) < num for word in words):
        raise InputError(f"{path}: fold {fold} has other than numbers from 0 to {num - 1}; copy it again from {WHERE}")
    return [int(word) for word in words]


def map_bytes(path: Path) -> np.ndarray:
    """A file's bytes, (n,) uint8, each read when it is looked at."""
    check_file(path)
    try:
        return np.asarray(np.memmap(path, np.uint8, "r"))
    except ValueError:  # an empty file cannot be mapped
        return np.empty(0, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a copy that can") from None


def check_file(path: Path) -> None:
    """Say where a missing file is to be had."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; STL-10's are in {WHERE} (2.6 GB)")
