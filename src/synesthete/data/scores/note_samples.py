"""A small sampler: folders of single notes that play whole scores."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from synesthete.data.audio import SoundFile
from synesthete.data.files import legible, list_files
from synesthete.data.recordings import SUFFIXES
from synesthete.data.scores.rendering import MAX_PITCH, lay_notes, released
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synesthete.data.scores.score import Score


SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
NAMED = re.compile(r"([a-g])(sharp|s|#|flat|b)?(-?\d)", re.IGNORECASE)
REACH = 3  # semitones that a note of the instrument that is named first is moved before another's is taken
ATTACK = 0.05  # of its loudest, where a note is said to begin
LEAD, RELEASE, SEAM = 0.005, 0.12, 0.15  # seconds: before that, after the key is let go, and of a loop's crossfade
LOOP = 0.45, 0.85  # of a note that has to be longer than it was recorded: what is repeated
DECAY = 0.25  # of its loudness at first, which a note that cannot be repeated has fallen to where a loop would begin
OCTAVE = 12


@dataclass
class RecordedNote:
    """pitch: of MIDI. sound: (n,) float32 from its attack on, of one loudness for all. sample_rate: in Hz."""

    pitch: float
    sound: np.ndarray
    sample_rate: int

    @cached_property
    def dies_away(self) -> bool:
        """Whether it is struck or plucked, so that it cannot be held."""
        first, last = (loudness(part) for part in (self.sound[: len(self.sound) // 4], self.sound[self.loop]))
        return last < DECAY * first

    @property
    def loop(self) -> slice:
        """Its samples that can be repeated."""
        return slice(*(round(share * len(self.sound)) for share in LOOP))


class NoteSamples:
    """Instruments whose single notes were recorded: a folder each, files named by their pitch, such as a4 or fsharp3.

    The nearest note is played faster or slower, never by more than its neighbours are apart. Libraries do not agree on
    the octave of c4: which one a folder means is heard.

    Args:
        path: the folder of folders.
        instruments: name -> globs on the folders' names; where several fit, the earlier one plays all that it is near
            to. None: each folder is an instrument of its own.
    """

    def __init__(self, path: str | None = None, instruments: dict[str, tuple[str, ...]] | None = None) -> None:
        self.path, self.instruments = path, instruments
        self._played: dict[tuple[str, int, int], np.ndarray] = {}
        self._read: dict[str, list[list[RecordedNote]]] = {}

    @cached_property
    def folders(self) -> Mapping[str, tuple[Path, ...]]:
        """The folders of each instrument.

        Raises:
            InputError: no folder, none within it, or an instrument of which there is none.
        """
        root = Path(self.path or "")
        if self.path is None or not root.is_dir():
            raise InputError(f"{self.path}: no folder of instruments; give one with a folder of notes for each (path)")
        there = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not there:
            raise InputError(f"{self.path}: no folders in it; give one with a folder of notes for each instrument")
        if self.instruments is None:
            return {legible(path.name): (path,) for path in there}
        found = {}
        for name, globs in self.instruments.items():
            found[name] = tuple(path for glob in globs for path in there if fnmatch.fnmatchcase(path.name, glob))
            if not found[name]:
                raise InputError(f"{self.path}: no folder for {name!r}, {' or '.join(globs)}; mend the globs")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Of the instruments."""
        return tuple(self.folders)

    def identity(self) -> Any:
        """The files by content."""
        return {
            name: [[digest(path) for path in list_files(one, SUFFIXES)] for one in self.folders[name]]
            for name in self.names
        }

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score on one of the instruments, (num_samples,) float32."""
        release = round(RELEASE * sample_rate)

        def note_of(pitch: int, length: int) -> np.ndarray:
            return released(self._held(name, pitch, length + release, sample_rate), length, release)

        return lay_notes(score, num_samples, sample_rate, note_of)

    def _held(self, name: str, pitch: int, length: int, sample_rate: int) -> np.ndarray:
        """The sound of a note that nobody lets go, at least `length` samples of it."""
        key = name, pitch, sample_rate
        kept = self._played.get(key)
        if kept is None or len(kept) < length:
            kept = self._played[key] = sustained(self.nearest(name, pitch), pitch, length, sample_rate)
        return kept

    def nearest(self, name: str, pitch: int) -> RecordedNote:
        """The recorded note that plays a pitch."""
        choices = [min(notes, key=lambda note: abs(note.pitch - pitch)) for notes in self._notes(name)]
        near = (note for note in choices if abs(note.pitch - pitch) <= REACH)
        return next(near, None) or min(choices, key=lambda note: abs(note.pitch - pitch))

    def _notes(self, name: str) -> list[list[RecordedNote]]:
        if name not in self._read:
            self._read[name] = [read_notes(folder) for folder in self.folders[name]]
        return self._read[name]


def read_notes(folder: Path) -> list[RecordedNote]:
    """The notes of a folder, at the octave that is heard, in order of pitch."""
    found = []
    for path in list_files(folder, SUFFIXES):
        if named := NAMED.fullmatch(path.stem):
            letter, sign, octave = named[1].lower(), (named[2] or "").lower(), int(named[3])
            pitch = OCTAVE * (octave + 1) + SEMITONES[letter] + (sign in ("sharp", "s", "#")) - (sign in ("flat", "b"))
            found.append(read_note(path, pitch))
    if not found:
        raise InputError(
            f"{legible(str(folder))}: no notes in it; name the files by their pitch, such as a4 or fsharp3"
        )
    higher = np.median([measure_pitch(note.sound, note.sample_rate) - note.pitch for note in found])
    for note in found:
        note.pitch += OCTAVE * round(float(higher) / OCTAVE)
    return sorted(found, key=lambda note: note.pitch)


def read_note(path: Path, pitch: int) -> RecordedNote:
    """A file from its attack on."""
    with SoundFile(str(path)) as file:
        sound, rate = np.concatenate([block.mean(axis=1) for block in file.blocks()]), file.sample_rate
    level = np.abs(sound)
    if not level.size or not 0 < level.max() < np.inf:
        raise InputError(f"{legible(str(path))}: silent or damaged; remove it")
    first = max(int(np.argmax(level > ATTACK * level.max())) - round(LEAD * rate), 0)
    sound = sound[first:].astype(np.float32)
    sound[: round(LEAD * rate)] *= np.linspace(0, 1, round(LEAD * rate), dtype=np.float32)[: len(sound)]
    return RecordedNote(pitch, sound / loudness(sound[:rate]), rate)


def loudness(sound: np.ndarray) -> float:
    """Root mean square."""
    return max(float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))), 1e-9) if len(sound) else 1e-9


def measure_pitch(sound: np.ndarray, sample_rate: int) -> float:
    """The pitch (of MIDI) of a note shortly after its attack, by the first strong peak of its autocorrelation."""
    part = sound[sample_rate // 5 :][: sample_rate // 3]
    part = part if len(part) > sample_rate // 10 else sound
    spectrum = np.abs(np.fft.rfft((part - part.mean()) * np.hanning(len(part)), 1 << 16)) ** 2
    alike = np.fft.irfft(spectrum)[: sample_rate // 15]
    lags = np.arange(1, len(alike) - 1)
    peaks = lags[(alike[1:-1] > alike[:-2]) & (alike[1:-1] >= alike[2:]) & (lags > sample_rate / 5000)]
    if not len(peaks):
        return 0.0
    lag = peaks[alike[peaks] > 0.85 * alike[peaks].max()][0]
    return float(69 + OCTAVE * np.log2(sample_rate / lag / 440))


def sustained(note: RecordedNote, pitch: int, length: int, sample_rate: int) -> np.ndarray:
    """A note at another pitch, (n,) float32, at least `length` samples: repeated from within, or silent at last."""
    speed = 2 ** ((min(pitch, MAX_PITCH) - note.pitch) / OCTAVE)
    sound = np.asarray(soxr.resample(note.sound, note.sample_rate * speed, sample_rate), np.float32)
    if length <= len(sound):
        return sound
    if note.dies_away:
        return np.pad(sound, (0, length - len(sound)))
    begin, end = (round(share * len(sound)) for share in LOOP)
    seam = min(round(SEAM * sample_rate), (end - begin) // 2)
    rising = np.sqrt(np.linspace(0, 1, seam, dtype=np.float32))
    loop = sound[begin:end].copy()
    loop[-seam:] = loop[-seam:] * rising[::-1] + sound[begin - seam : begin] * rising
    rounds = -(-(length - begin) // len(loop))
    return np.concatenate([sound[:begin], np.tile(loop, rounds)])
