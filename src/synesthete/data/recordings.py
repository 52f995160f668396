"""Recordings, from wherever they are: a source lists them, and each is read block by block, never whole."""

from __future__ import annotations

import contextlib
import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete import seeding
from synesthete.data.audio import SoundFile
from synesthete.data.files import SourceFile, list_files
from synesthete.executors import divide
from synesthete.io import append_to, digest
from synesthete.types import InputError

if TYPE_CHECKING:
    import numpy as np

    from synesthete.data.labelled import Part

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aif", ".aiff")
HASHED_BYTES = 2**21  # of a file, by which its content is told from others'


@dataclass(frozen=True, slots=True)
class Recording(SourceFile):
    """A recording that is not in memory: a file of any kind that `SoundFile` reads, or what is derived from this.

    place: its path within its source, with forward slashes; its class is found by it. InputError: it cannot be read.
    """

    place: str

    def opened(self) -> SoundFile:
        """The sound, to be decoded."""
        return SoundFile(self.path)

    @property
    def sample_rate(self) -> int:
        """Its own, in Hz, as the file says."""
        with self.opened() as file:
            return file.sample_rate

    def num_samples(self) -> int:
        """Of each channel, all that can be decoded; found by doing so, since many a header only estimates."""
        with self.opened() as file:
            return file.num_samples()

    def blocks(self) -> Iterator[np.ndarray]:
        """Its samples (n, C) float32 at its own rate, about `BLOCK` at once; before an InputError all there are."""
        with self.opened() as file:
            yield from file.blocks()

    def content(self) -> str:
        """A name for its content, the same for a copy: of a very long file, by its size and 64 parts all over it."""
        try:
            size = Path(self.path).stat().st_size
            num_parts = 1 if size <= HASHED_BYTES else 64
            parts = [str(size).encode()]
            with Path(self.path).open("rb") as file:
                for part in range(num_parts):
                    file.seek(part * size // num_parts)
                    parts.append(file.read(HASHED_BYTES // num_parts))
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror}); check the file") from None
        return digest(b"".join(parts), size=12)


class Recordings:
    """A folder of recordings, those in folders within it included.

    Args:
        path: the folder, or one file. None gives no recordings.
        patterns: globs on the path within the folder; a recording is listed where one of them fits. `*` fits slashes.
    """

    def __init__(self, path: str | None = None, patterns: tuple[str, ...] = ("*",)) -> None:
        self.path, self.patterns = path, patterns

    def recordings(self) -> list[Recording]:
        """The folder's recordings in order of their paths.

        Raises:
            InputError: no such folder, or no sound in it.
        """
        if self.path is None:
            return []
        root = Path(self.path)
        if root.is_file():
            return [Recording(str(root), root.name)]
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give one with recordings in it ({', '.join(SUFFIXES[:4])})")
        places = sorted(path.relative_to(root).as_posix() for path in list_files(root, SUFFIXES))
        if not places:
            raise InputError(f"{root}: no recordings in it; put some there ({', '.join(SUFFIXES[:4])})")
        chosen = [place for place in places if any(fnmatch.fnmatchcase(place, p) for p in self.patterns)]
        if not chosen:
            raise InputError(
                f"{root}: none of {len(places)} recordings fits {', '.join(self.patterns)}; mend the patterns"
            )
        return [Recording(str(root / place), place) for place in chosen]


SPARE = 1.25  # how far a split may be filled beyond its share
LEAST_SECONDS = 2.0  # that a recording counts as, however short: a strike is a sample like any other


@dataclass
class RecordingEntry:
    """A recording that could be opened: a name for its content, how long it is, and the place of its class."""

    recording: Recording
    content: str
    seconds: float
    label: int = 0
    part: Part = "train"


def open_recordings(
    recordings: Sequence[Recording], what: str = "recordings", kept: Path | None = None
) -> list[RecordingEntry | str]:
    """The content and length of each, or why it cannot be read; none is kept in memory. what: they are called.

    kept: a file of what was found before, which is added to; a recording is opened once, and again when it has changed.
    """
    found: dict[int, RecordingEntry | str] = {}
    with contextlib.ExitStack() as stack:
        journal, known, names = None, dict[str, tuple[str, float]](), [""] * len(recordings)
        if kept:
            known = read_opened(kept)
            names = [digest(recording.stamp().encode(), size=8) for recording in recordings]
            with contextlib.suppress(OSError):  # then they are opened again the next time
                journal = stack.enter_context(append_to(kept))
                journal.write("\n")  # ends a line that a killed run left open
        for i, recording in enumerate(recordings):
            if names[i] in known:
                found[i] = RecordingEntry(recording, *known[names[i]])
        left = {i: recording for i, recording in enumerate(recordings) if i not in found}
        for i, opened in divide(open_recording, left, "threads"):
            found[i] = opened
            if journal and isinstance(opened, RecordingEntry):
                journal.write(json.dumps([names[i], opened.content, opened.seconds]) + "\n")
    opened_ones = [found[i] for i in range(len(recordings))]
    if opened_ones and all(isinstance(one, str) for one in opened_ones):
        raise InputError(f"not one of {len(opened_ones)} {what} can be read; the first: {opened_ones[0]}")
    return opened_ones


def read_opened(kept: Path) -> dict[str, tuple[str, float]]:
    """Content and seconds of what was opened before, by a name for its stamp; lines that are not whole are left out."""
    known: dict[str, tuple[str, float]] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError), kept.open(encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                name, content, seconds = json.loads(line)
                known[str(name)] = str(content), float(seconds)
    return known


def open_recording(recording: Recording) -> RecordingEntry | str:
    """Its content and length, or why it cannot be read."""
    try:
        return RecordingEntry(recording, recording.content(), recording.num_samples() / recording.sample_rate)
    except InputError as error:
        return str(error)


def divide_recordings(entries: Sequence[RecordingEntry], shares: dict[Part, float]) -> list[Part]:
    """The split of each recording of a class.

    The held-out splits are filled to their shares of the seconds, in an order drawn from the contents; a recording
    that is too long for one is passed over, and where all are, the shortest is taken; a short one counts as two
    seconds. One is left to train on: of a single recording nothing is held out, of two one, to test on.
    """
    parts: list[Part] = ["train"] * len(entries)
    order = sorted(range(len(entries)), key=lambda i: seeding.derive(0, "split", entries[i].content))
    lengths = [max(entry.seconds, LEAST_SECONDS) for entry in entries]
    for part, share in shares.items():
        left = [i for i in order if parts[i] == "train"]
        if not share or len(left) < 2:
            continue
        wanted, seconds = share * sum(lengths), 0.0
        taken: list[int] = []
        for i in left:
            if seconds < wanted and seconds + lengths[i] <= SPARE * wanted and len(taken) < len(left) - 1:
                taken.append(i)
                seconds += lengths[i]
        for i in taken or [min(left, key=lambda i: lengths[i])]:
            parts[i] = part
    return parts
