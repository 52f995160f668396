"""Pictures with their classes, from wherever they are: each source gives a split's pictures and the class names."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import io
import logging
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from synesthete import seeding
from synesthete.data.audio import write_whole
from synesthete.data.manifest import FILE_NAME, read_manifest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Split = Literal["train", "test"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# A picture's path, its class, and its split where a manifest names one.
Listed = tuple[Path, str, str | None]

logger = logging.getLogger(__name__)


@dataclass
class Pictures:
    """Pictures of one split: labels[i] is the class name of images[i]; skipped names the files that are unreadable."""

    images: list[Image.Image] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def extend(self, other: Pictures) -> None:
        """Add another source's pictures."""
        self.images += other.images
        self.labels += other.labels
        self.skipped += other.skipped


class PictureSource(Protocol):
    """Anything that gives pictures of a split. `train` and `test` share no picture."""

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, in a fixed order."""
        ...


class BuiltInDigits:
    """The 1,797 handwritten digits, 8x8, that scikit-learn carries (UCI Optical Recognition, test half).

    Args:
        num_test: digits held out, drawn once and for all.
    """

    def __init__(self, num_test: int = 297) -> None:
        self.num_test = num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's digits, classes named "zero" to "nine"."""
        # Read as data: importing sklearn.datasets costs a second and is not needed for it.
        packed = importlib.resources.files("sklearn.datasets.data").joinpath("digits.csv.gz").read_bytes()
        table = np.loadtxt(io.StringIO(gzip.decompress(packed).decode()), delimiter=",", dtype=np.int64)
        values, numbers = table[:, :64].reshape(-1, 8, 8), table[:, 64]
        chosen = split_indices(len(table), self.num_test, split)
        images = [Image.fromarray((values[i] * 255 // 16).astype(np.uint8)) for i in chosen]
        return Pictures(images, [DIGITS[numbers[i]] for i in chosen])


class Mnist:
    """Handwritten digits, 28x28, from an npz file (`images` (N, 28, 28) uint8, `labels` (N,)).

    Args:
        path: the file, or a folder with one npz and perhaps a class folder `png/`; its pictures are then the test split
            and are taken out of training. None gives no pictures.
        num_test: digits held out where there is no `png/`.
    """

    def __init__(self, path: str | None = None, num_test: int = 1000) -> None:
        self.path, self.num_test = path, num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's digits, classes named "zero" to "nine".

        Raises:
            InputError: no such file, or not an archive of that layout.
        """
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
            unseen = {content(image) for image in self.pictures("test").images}
            chosen = [i for i, image in enumerate(images) if hash_array(image) not in unseen]
        else:
            chosen = split_indices(len(images), self.num_test, split)
        return Pictures([Image.fromarray(images[i]) for i in chosen], [DIGITS[numbers[i]] for i in chosen])

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
                images, numbers = archive["images"], archive["labels"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            raise InputError(f"{path}: not an .npz with images (N, 28, 28) and labels (N,)") from None
        fits = images.ndim == 3 and images.dtype == np.uint8 and numbers.shape == (len(images),)
        fits = fits and np.issubdtype(numbers.dtype, np.integer)
        if not fits or not len(images) or not (int(numbers.min()) >= 0 and int(numbers.max()) <= 9):
            raise InputError(
                f"{path}: images {images.shape} {images.dtype}, labels {numbers.shape}; need uint8, 0 to 9"
            )
        return images, numbers


class ClassFolders:
    """A folder with one folder of pictures a class, the ImageFolder convention, or with a `metadata.jsonl`.

    Args:
        path: the folder. num_test: pictures held out over all classes, where no manifest says; None holds out a tenth.
    """

    def __init__(self, path: str, num_test: int | None = None) -> None:
        self.path, self.num_test = path, num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures; files that are no pictures are skipped and named.

        Raises:
            InputError: no such folder, no class in it, a class without pictures, or not one readable picture.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one with a folder of pictures for each class")
        listed = self._from_manifest(folder) if (folder / FILE_NAME).is_file() else self._from_folders(folder)
        chosen = [(path, label) for path, label, own in self._divided(folder, listed) if own == split]
        pictures = read_pictures([path for path, _ in chosen])
        if chosen and not len(pictures):
            raise InputError(f"{folder}: not one of its {len(chosen)} files is a readable picture")
        skipped = set(pictures.skipped)
        pictures.labels = [label for path, label in chosen if str(path) not in skipped]
        return pictures

    def _divided(self, folder: Path, listed: list[Listed]) -> list[tuple[Path, str, str]]:
        """Every picture with its split: the manifest's own, or by a number drawn from its name.

        By name, not by place in the list: a picture that is added later leaves the splits of all others as they were.
        """
        undecided = [path for path, _, split in listed if split is None]
        order = sorted(undecided, key=lambda path: seeding.derive(0, "split", path.relative_to(folder).as_posix()))
        held_out = set(order[: len(order) // 10 if self.num_test is None else self.num_test])
        return [(path, label, split or ("test" if path in held_out else "train")) for path, label, split in listed]

    @staticmethod
    def _from_folders(folder: Path) -> list[Listed]:
        classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not classes:
            raise InputError(f"{folder}: no class folders in it; put each class's pictures into a folder of its name")
        listed: list[Listed] = []
        for entry in classes:
            files = list_pictures(entry)
            if not files:
                kinds = ", ".join(SUFFIXES[:3])
                raise InputError(f"{entry}: a class folder without pictures; add some ({kinds}) or remove it")
            listed += [(path, entry.name, None) for path in files]
        return listed

    @staticmethod
    def _from_manifest(folder: Path) -> list[Listed]:
        return [(folder / entry.image, entry.label, entry.split) for entry in read_manifest(folder) if entry.image]


def list_pictures(path: Path) -> list[Path]:
    """A picture file, or every picture in a folder and below it, in order of name."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def read_picture(path: Path) -> Image.Image:
    """One picture, whole and decoded.

    Raises:
        InputError: no such file, not a picture, or cut off.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a picture or a folder of pictures") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture; give a {', '.join(SUFFIXES[:3])} file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: a damaged picture ({error}); replace or remove it") from None


def write_picture(path: Path, picture: Image.Image) -> Path:
    """Write a PNG, whole or not at all.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    write_whole(path, encoded.getvalue())
    return path


def read_pictures(paths: Iterable[Path]) -> Pictures:
    """Every readable picture, unlabelled; the others are named in `skipped` and in one warning."""
    pictures = Pictures()
    for path in paths:
        try:
            pictures.images.append(read_picture(path))
        except InputError as error:
            pictures.skipped.append(str(path))
            logger.debug("%s", error)
    if pictures.skipped:
        logger.warning("skipped %d unreadable: %s", len(pictures.skipped), ", ".join(pictures.skipped[:10]))
    return pictures


def read_source(sources: Sequence[PictureSource], split: Split) -> Pictures:
    """All sources' pictures of a split; a picture that the test split holds too is left out of training."""
    pictures = Pictures()
    for source in sources:
        pictures.extend(source.pictures(split))
    if split == "train":
        unseen = {content(image) for source in sources for image in source.pictures("test").images}
        kept = [i for i, image in enumerate(pictures.images) if content(image) not in unseen]
        pictures.images = [pictures.images[i] for i in kept]
        pictures.labels = [pictures.labels[i] for i in kept]
    return pictures


def split_indices(num: int, num_test: int, split: Split) -> list[int]:
    """Which of `num` items belong to a split: always the same ones, drawn without order."""
    order = np.random.default_rng(seeding.derive(0, "split")).permutation(num)
    chosen = order[:num_test] if split == "test" else order[num_test:]
    return sorted(int(i) for i in chosen)


def content(image: Image.Image) -> str:
    """A name for what the picture shows, whatever file it came from."""
    return hash_array(np.asarray(image))


def hash_array(values: np.ndarray) -> str:
    """A name for an array's values and shape."""
    return hashlib.blake2b(repr(values.shape).encode() + values.tobytes(), digest_size=12).hexdigest()
