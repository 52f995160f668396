"""Pictures in a tar, listed once and read one by one from where they lie."""

from __future__ import annotations

import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal

from synesthete import hub
from synesthete.config.build import shorten
from synesthete.data.files import is_hidden, legible, split_of
from synesthete.data.found_pairs import FoundPairs, ImageEntry
from synesthete.data.packed import Slice
from synesthete.data.picture import HEAD, SUFFIXES, UNREAD_SUFFIXES, is_picture
from synesthete.data.pictures import PictureSource, divide_pictures
from synesthete.io import digest, read_json, replacing, write_file
from synesthete.types import InputError, first_line

if TYPE_CHECKING:
    from synesthete.data.files import Split
    from synesthete.data.pictures import Pictures

INDEX, CONTENT = "pictures.json", "pictures.bin"
# What a damaged archive makes the libraries say.
DAMAGES = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
# A picture's name in the archive, its first byte in the file that holds it, and its number of bytes: 0 of one that is
# of a kind that is not read.
Entry = tuple[str, int, int]
Member = tuple[PurePosixPath, tarfile.TarInfo, IO[bytes]]


class ClassTar(PictureSource):
    """Class folders in a tar, plain or compressed (gzip, bzip2, xz): `CLASS/PICTURE`, below any folders or none.

    Where all classes lie below folders that are named as splits are, or some below either, these are the splits. A
    compressed archive is gone through once, ever: its pictures, still encoded, are laid into one file of the cache. A
    plain one is read where it lies. Nothing of it is written under a name that the archive chose.

    Args:
        path: the archive; None gives no pictures. num_test: pictures held out over all classes, where the archive has
            not both splits; None holds out a tenth. classes: those to give, None for all; which of their pictures are
            held out does not depend on it.
    """

    def __init__(
        self, path: str | None = None, num_test: int | None = None, classes: tuple[str, ...] | None = None
    ) -> None:
        self.path, self.num_test, self.classes = path, num_test, classes

    def pictures(self, split: Split) -> Pictures:
        """The pictures of a split, in order of name."""
        listing = self.listing()
        found = divide_pictures(listing, self.num_test, split)
        if self.path is None or self.classes is None:
            return found
        if missing := sorted(set(self.classes) - {entry.label for entry in listing.pictures}):
            raise InputError(f"{self.path}: no pictures of class {shorten(missing[0])}; add some, or leave it out")
        kept = found.take([place for place, label in enumerate(found.labels) if label in self.classes])
        kept.notes = found.notes
        return kept

    def listing(self) -> FoundPairs:
        """Every picture of the archive, in order of name."""
        if self.path is None:
            return FoundPairs()
        archive = Path(self.path)
        if not archive.is_file():
            raise InputError(f"{archive}: no such file; give a tar of class folders")
        return list_archive(archive)


def list_archive(archive: Path) -> FoundPairs:
    """Every picture of an archive, in order of name; of several of one name the last, as when it is unpacked."""
    status = archive.stat()
    named = f"{legible(str(archive.resolve()))} {status.st_size} {status.st_mtime_ns}"
    folder = hub.cache_folder() / "archives" / digest(named.encode(), size=8)
    if not (folder / INDEX).is_file():
        write_index(archive, folder)
    try:
        entries = read_json(folder / INDEX)
        where = folder / CONTENT if (folder / CONTENT).is_file() else archive
        changed = where.stat().st_mtime_ns
        places = {name: (first, size) for name, first, size in entries}
    except (OSError, ValueError):
        raise InputError(f"{folder}: the index of {archive} is damaged; remove that folder and run again") from None
    listing = FoundPairs()
    for name, (first, size) in sorted(places.items()):
        shown = legible(f"{archive}/{name}")
        if not size:
            listing.skipped.append(f"{shown}: empty, or of a kind that is not read")
            continue
        *above, label, _ = legible(name).split("/")
        split = next((split for part in above if (split := split_of(part))), None)
        stored = f"{folder.name} {shown} {first} {size}"
        picture = Slice(shown, stored, str(where), changed, first, size)
        listing.pictures.append(ImageEntry(picture, label.strip(), legible(name), split))
    told = {entry.split for entry in listing.pictures}
    if None in told and len(told) < 3:  # a class is named as a split is
        listing.pictures = [entry._replace(split=None) for entry in listing.pictures]
    return listing


def write_index(archive: Path, folder: Path) -> None:
    """Where each picture lies, as `pictures.json` in the folder; beside it the pictures of a compressed archive."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); set SYNESTHETE_CACHE elsewhere") from None
    entries = locate(archive) if is_plain(archive) else unpack(archive, folder / CONTENT)
    if not any(size for _, _, size in entries):
        raise InputError(f"{archive}: no pictures in class folders ({', '.join(SUFFIXES[:3])}, ...); give another tar")
    write_file(folder / INDEX, json.dumps(entries))


def locate(archive: Path) -> list[Entry]:
    """The pictures of a plain tar: name, first byte and number of bytes of each."""
    with walk_tar(archive) as members:
        return [(name, one.offset_data, one.size if head else 0) for name, one, head, _ in pictures_among(members)]


def unpack(archive: Path, target: Path) -> list[Entry]:
    """The pictures of a compressed tar, laid one after the other into `target`, in one go through it."""
    entries: list[Entry] = []
    with replacing(target) as partial, partial.open("wb") as file, walk_tar(archive, "r|*") as members:
        for name, _, head, rest in pictures_among(members):
            size = file.write(head + rest.read()) if head else 0
            entries.append((name, file.tell() - size, size))
    return entries


def is_plain(archive: Path) -> bool:
    """Whether a file is a tar that is not compressed."""
    with suppress(tarfile.ReadError, OSError):
        tarfile.open(archive, "r:").close()
        return True
    return False


def pictures_among(members: Iterator[Member]) -> Iterator[tuple[str, tarfile.TarInfo, bytes, IO[bytes]]]:
    """The pictures in class folders, as they come: name, header, first bytes, and the rest to be read.

    Of those of kinds that are not read no byte is told.
    """
    for path, member, file in members:
        head = file.read(HEAD) if len(path.parts) > 1 else b""
        if len(path.parts) > 1 and is_picture(path.name, head):
            yield str(path), member, head, file
        elif len(path.parts) > 1 and path.suffix.lower() in UNREAD_SUFFIXES:
            yield str(path), member, b"", file


@contextmanager
def walk_tar(archive: Path, mode: Literal["r:", "r|*"] = "r:") -> Iterator[Iterator[Member]]:
    """The files of a tar as they come, without hidden ones. mode: of a plain one, or of one that may be compressed."""
    try:
        with tarfile.open(archive, mode) as tar:
            yield list_members(tar)
            if mode == "r:" and tar.fileobj is not None:  # what is cut short is read without a word
                tar.fileobj.seek(tar.offset)
                if tar.fileobj.read(tarfile.BLOCKSIZE).count(0) < tarfile.BLOCKSIZE:
                    raise InputError(f"{archive}: cut short or damaged after {tar.offset} bytes; copy it again")
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(f"{archive}: not a whole tar ({first_line(error)}); copy it again, or leave it out") from None


def list_members(tar: tarfile.TarFile) -> Iterator[Member]:
    """The files of an open tar."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else every header is kept, a kilobyte each
        path = PurePosixPath(member.name)
        if member.isfile() and not any(map(is_hidden, path.parts)):
            file = tar.extractfile(member)
            assert file is not None  # which it is of links alone
            yield path, member, file
