"""Pictures with their classes, from wherever they are: each source lists a split's pictures and the class names."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete import seeding
from synesthete.config.build import shorten
from synesthete.data.files import (
    SPLITS,
    Split,
    find_classes,
    find_manifests,
    identity,
    legible,
    list_entries,
    read_manifest,
    split_of,
)
from synesthete.data.found_pairs import FoundPairs, ImageEntry, PairSource
from synesthete.data.picture import (
    SUFFIXES,
    Picture,
    PictureArray,
    PictureFile,
    content,
    find_pictures,
    hash_array,
    is_picture,
)
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BuiltInDigits", "ClassFolders", "Mnist", "PictureSource", "Pictures"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

logger = logging.getLogger(__name__)


@dataclass
class Pictures:
    """Pictures of one split, not in memory: labels[i] is the class name of files[i].

    skipped: what cannot be used, by name. notes: what else is to be said. max_pixels: of those that are read. texts:
    the captions of some, in lines, by the name of the file.
    """

    files: list[Picture] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    max_pixels: int = MAX_PIXELS
    texts: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def images(self) -> LazyImages:
        """The pictures as a sequence that decodes one when it is asked for it."""
        return LazyImages(self.files, self.max_pixels)

    def read(self, places: Iterable[int] | None = None) -> Iterator[tuple[int, Image.Image]]:
        """Every readable picture of these places (all where None), one at a time, with its place.

        The others are named in `skipped`, and at the end in one warning.
        """
        before = len(self.skipped)
        for place in range(len(self)) if places is None else places:
            try:
                image = self.files[place].read(self.max_pixels)
            except InputError as error:
                self.skipped.append(self.files[place].name)
                logger.debug("%s", error)
                continue
            yield place, image
        if named := self.skipped[before:]:
            logger.warning("skipped %d unreadable: %s", len(named), ", ".join(named[:10]))

    def extend(self, other: Pictures) -> None:
        """Add another source's pictures."""
        self.files += other.files
        self.labels += other.labels
        self.texts |= other.texts
        self.skipped += other.skipped
        self.notes += other.notes

    def take(self, places: Sequence[int]) -> Pictures:
        """The pictures at these places."""
        files, labels = [self.files[i] for i in places], [self.labels[i] for i in places]
        return Pictures(files, labels, list(self.skipped), max_pixels=self.max_pixels, texts=self.texts)


class LazyImages(Sequence["Image.Image"]):
    """Decoded pictures, each read when it is asked for and not kept."""

    def __init__(self, files: Sequence[Picture], max_pixels: int = MAX_PIXELS) -> None:
        self._files, self._max_pixels = files, max_pixels

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        """Decode the picture at a place, or those of a slice."""
        if isinstance(index, slice):
            return [file.read(self._max_pixels) for file in self._files[index]]
        return self._files[index].read(self._max_pixels)


def divide_pictures(listing: FoundPairs, num_test: int | None, split: Split) -> Pictures:
    """The pictures of a split: the source's own, or by a number drawn from each picture's place.

    By place, not by position in the list: a picture that is added later leaves the splits of all others as they
    were. num_test: of those without a split of their own, or of all where all are told to be trained on; None holds
    out a tenth.
    """
    told, names = {entry.split for entry in listing.pictures}, sorted({entry.label for entry in listing.pictures})
    if told == {"test"}:
        raise InputError(f"{listing.pictures[0].picture.name}: of a test split, and there are no others; add train")
    if names and all(map(split_of, names)):
        raise InputError(
            f"{listing.pictures[0].picture.name}: class {shorten(names[0])} is a split; add folders of classes"
        )
    entries = [entry._replace(split=None) for entry in listing.pictures] if told == {"train"} else listing.pictures
    places = (entry.place for entry in entries if entry.split is None)
    undecided = sorted(places, key=lambda place: seeding.derive(0, "split", place))
    held_out = set(undecided[: len(undecided) // 10 if num_test is None else num_test])
    chosen = [e for e in entries if (e.split or ("test" if e.place in held_out else "train")) == split]
    texts = {entry.picture.name: entry.text for entry in chosen if entry.text}
    found = Pictures([entry.picture for entry in chosen], [entry.label for entry in chosen], texts=texts)
    if split == "train":  # once
        found.skipped, found.notes = list(listing.skipped), list(listing.notes)
        if told == {"train"} and held_out:
            found.notes.append(f"no test split: {len(held_out)} of {len(entries)} training pictures are held out")
    return found


class PictureSource(PairSource):
    """Anything that lists the pictures of a split. `train` and `test` share no picture.

    One that knows all its pictures has a `listing` and `num_test`, from which the splits follow.
    """

    num_test: Any = None

    def listing(self) -> FoundPairs:
        """All pictures, in a fixed order, with the split of each where the source tells; none is read.

        Raises:
            InputError: nothing is there, it is damaged or laid out otherwise, or it has no pictures of a class.
        """
        raise NotImplementedError

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, in a fixed order; none is read."""
        return divide_pictures(self.listing(), self.num_test, split)

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The pictures, without sounds; a source that holds none out leaves it to be drawn class by class."""
        found = FoundPairs()
        listed = {split: self.pictures(split) for split in SPLITS}
        for split, own in listed.items():
            told = split if len(listed["test"]) else None
            found.pictures += [
                ImageEntry(file, label, file.name, told, own.texts.get(file.name))
                for file, label in zip(own.files, own.labels, strict=True)
            ]
            found.skipped += own.skipped
            found.notes += own.notes
        return found


class BuiltInDigits(PictureSource):
    """The 1,797 handwritten digits, 8x8, that scikit-learn carries (UCI Optical Recognition, test half).

    Args:
        num_test: digits held out, drawn once and for all.
    """

    def __init__(self, num_test: int = 297) -> None:
        self.num_test = num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's digits, classes named "zero" to "nine"."""
        # Read as data: importing sklearn costs more than a second and is not needed for it.
        found: Any = importlib.util.find_spec("sklearn")
        table = np.loadtxt(Path(found.origin).with_name("datasets") / "data/digits.csv.gz", np.int64, delimiter=",")
        values, numbers = (table[:, :64].reshape(-1, 8, 8) * 255 // 16).astype(np.uint8), table[:, 64]
        return digits(values, numbers, split_indices(len(table), self.num_test, split), "digits.csv.gz")


class Mnist(PictureSource):
    """Handwritten digits, 28x28, from an npz file (`images` (N, 28, 28) uint8, `labels` (N,)).

    Args:
        path: the file, or a folder with one npz and perhaps a class folder `png/`; its pictures are then the test split
            and are taken out of training. None gives no pictures.
        num_test: digits held out where there is no `png/`.
    """

    def __init__(self, path: str | None = None, num_test: int = 1000) -> None:
        self.path, self.num_test = path, num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's digits, classes named "zero" to "nine"."""
        if self.path is None:
            return Pictures()
        path = Path(self.path)
        held_out = path / "png" if path.is_dir() else path.parent / "png"
        if split == "test" and held_out.is_dir():
            found = ClassFolders(str(held_out), num_test=0).pictures("train")
            names = {str(number): name for number, name in enumerate(DIGITS)}
            found.labels = [names.get(label, label) for label in found.labels]
            return found
        images, numbers = self._read(path)
        if held_out.is_dir():
            unseen = {content(image) for _, image in self.pictures("test").read()}
            chosen = [i for i, image in enumerate(images) if hash_array(image) not in unseen]
        else:
            chosen = split_indices(len(images), self.num_test, split)
        return digits(images, numbers, chosen, str(path))

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.is_dir():
            archives = sorted(path.glob("*.npz"))
            if not archives:
                raise InputError(f"{path}: no .npz file in it; give the archive of digits itself")
            path = archives[0]
        if not path.is_file():
            raise InputError(f"{path}: no such file; give an .npz with images (N, 28, 28) and labels (N,)")
        try:
            with np.load(path, allow_pickle=False) as archive:
                # One whose header is damaged comes as bytes.
                images, numbers = np.asarray(archive["images"]), np.asarray(archive["labels"])
        except Exception:  # numpy, zip, zlib and what reads the header of an array each have their own
            raise InputError(f"{path}: not an .npz with images (N, 28, 28) and labels (N,)") from None
        fits = images.ndim == 3 and images.dtype == np.uint8 and numbers.shape == (len(images),)
        fits = fits and np.issubdtype(numbers.dtype, np.integer)
        if not fits or not len(images) or not (int(numbers.min()) >= 0 and int(numbers.max()) <= 9):
            raise InputError(
                f"{path}: images {images.shape} {images.dtype}, labels {numbers.shape}; need uint8, 0 to 9"
            )
        return images, numbers


class ClassFolders(PictureSource):
    """A folder with one folder of pictures a class, the ImageFolder convention, or with a manifest.

    Where folders in it are named as splits are (train, training; test, val, validation, valid, dev, in any case) and
    the classes or a manifest are in these, they are the splits. Of `train` alone a share is held out.

    Args:
        path: the folder. num_test: pictures held out over all classes, where neither manifest nor folders say; None
            holds out a tenth.
    """

    def __init__(self, path: str, num_test: int | None = None) -> None:
        self.path, self.num_test = path, num_test

    def listing(self) -> FoundPairs:
        """All pictures, class by class."""
        folder = Path(self.path)
        if not folder.is_dir():
            what = "a file, and no folder; unpack it, or" if folder.is_file() else "no such folder;"
            raise InputError(f"{folder}: {what} give one with a folder of pictures for each class")
        return list_manifest(folder) if find_manifests(folder) else list_class_folders(folder)


def list_class_folders(folder: Path) -> FoundPairs:
    """The pictures of class folders; those beside them are left out, and that is said."""
    layout = find_classes(folder)
    if not layout.classes:
        raise InputError(f"{folder}: no class folders in it; put each class's pictures into a folder of its name")
    listing = FoundPairs(notes=layout.notes)
    for entry, split in layout.classes:
        files, unread = find_pictures(entry)
        if not files:
            kinds, others = ", ".join(SUFFIXES[:3]), f" ({unread[0].name} is not read)" if unread else ""
            raise InputError(f"{entry}: a class folder without pictures{others}; add some ({kinds}) or remove it")
        label = legible(entry.name).strip()
        listing.pictures += [in_folder(folder, path, label, split) for path in files]
        listing.skipped += [f"{legible(str(path))}: of a kind that is not read" for path in unread]
    beside = [path for above in {folder, *layout.splits} for path in list_entries(above) if is_picture(path.name, b"")]
    if beside:
        listing.notes.append(f"{len(beside)} pictures outside of the class folders left out: {legible(str(beside[0]))}")
    return listing


def list_manifest(folder: Path) -> FoundPairs:
    """The pictures of a manifest's lines, each once; lines that have none, or are for something else, are named."""
    listing, seen, num_again = FoundPairs(), set(), 0
    for entry in read_manifest(folder):
        if entry.image is None or entry.split not in (None, *SPLITS):
            why = "without an image" if entry.image is None else f"of split {entry.split}"
            listing.skipped.append(f"{entry.image or entry.audio or entry.label}: a line {why}")
            continue
        path = folder / entry.image
        try:
            shown = identity(path.stat())
        except (OSError, ValueError):  # found out when it is read
            shown = path
        if (shown, entry.label, entry.split) in seen:
            num_again += 1
            continue
        seen.add((shown, entry.label, entry.split))
        listing.pictures.append(in_folder(folder, path, entry.label, entry.split)._replace(text=entry.text))
    if num_again:
        listing.notes.append(f"{num_again} lines left out whose picture another line has already")
    return listing


def in_folder(folder: Path, path: Path, label: str, split: str | None) -> ImageEntry:
    """A picture file somewhere below a folder."""
    return ImageEntry(PictureFile(str(path)), label, legible(path.relative_to(folder).as_posix()), split)


def digits(images: np.ndarray, numbers: np.ndarray, chosen: Sequence[int], name: str) -> Pictures:
    """The chosen ones of pictures that are arrays (N, H, W), with the names of their numbers."""
    return Pictures([PictureArray(f"{name} {i}", images[i]) for i in chosen], [DIGITS[numbers[i]] for i in chosen])


def list_sources(sources: Sequence[PictureSource], split: Split) -> Pictures:
    """All sources' pictures of a split, one source after the other."""
    pictures = Pictures()
    for source in sources:
        pictures.extend(source.pictures(split))
    return pictures


def split_indices(num: int, num_test: int, split: Split) -> list[int]:
    """Which of `num` items belong to a split: always the same ones, drawn without order."""
    order = np.random.default_rng(seeding.derive(0, "split")).permutation(num)
    chosen = order[:num_test] if split == "test" else order[num_test:]
    return sorted(int(i) for i in chosen)
