"""Scores as sound: how notes are laid over one another, and what plays them: a few partials, or a SoundFont."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from synesthete import seeding
from synesthete.data.files import legible
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.data.scores.score import Score


TAIL = 1.0  # seconds in which the last note may die away
LEVEL, PEAK = 0.1, 0.95  # root mean square of a whole piece, and the most that any sample may be
LOUD = 80  # velocity of a note as loud as its sound was made
MAX_SECONDS = 3600.0
MAX_PITCH = 127


class Instruments(Protocol):
    """Anything that can play a score on one of several instruments."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the instruments are called, in the order of their numbers."""

    def identity(self) -> Any:
        """Plain values that are others whenever the same notes would sound different."""

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score from its beginning on one instrument: (num_samples,) float32, of any loudness, always the same."""


def render(score: Score, instruments: Instruments, name: str, sample_rate: int, lead: float = 0.0) -> np.ndarray:
    """A score as sound: (S,) float32 in [-1, 1], after `lead` seconds of silence and with a second to die away.

    All pieces come out about as loud. name: of the instrument; nothing else decides the sound.
    """
    if name not in instruments.names:
        raise InputError(f"instrument {name!r}: there are {', '.join(instruments.names)}; give one of these")
    seconds = score.seconds(score.length) + TAIL
    if not seconds < MAX_SECONDS:
        raise InputError(
            f"{score.title or 'a score'}: {seconds / 60:.0f} minutes at its tempo; give one of less than 60"
        )
    sound = instruments.play(score, name, round(seconds * sample_rate), sample_rate)
    power = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    gain = min(LEVEL / max(power, 1e-9), PEAK / max(float(np.abs(sound).max()), 1e-9))
    return np.concatenate([np.zeros(round(lead * sample_rate), np.float32), (gain * sound).astype(np.float32)])


def lay_notes(
    score: Score, num_samples: int, sample_rate: int, note_of: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    """The notes of a score over one another, (num_samples,) float32.

    note_of(pitch, length): the sound of a note that is held for `length` samples, its release included, (n,).
    """
    mixed = np.zeros(num_samples, np.float32)
    for note in score.notes:
        first, end = (round(score.seconds(quarter) * sample_rate) for quarter in (note.start, note.end))
        sound = note_of(note.pitch, max(end - first, 1))[: num_samples - first]
        mixed[first : first + len(sound)] += (note.velocity / LOUD) ** 1.5 * sound
    return mixed


def released(sound: np.ndarray, length: int, release: int) -> np.ndarray:
    """The sound (n,) of a held note, let go after `length` samples: it fades out over `release` more."""
    whole = sound[: length + release].copy()
    fading = whole[length:]
    fading *= 0.5 + 0.5 * np.cos(np.pi * np.arange(len(fading), dtype=np.float32) / max(release, 1))
    return whole


TimbreName = Literal["strings", "organ", "piano", "brass", "woodwind", "guitar"]


@dataclass(frozen=True)
class Timbre:
    """How an instrument sounds.

    amplitudes: of the partials, from the fundamental on. attack, release: seconds. decay: of the fundamental, in
    nepers a second, 0 where it can be held; higher partials decay faster.
    """

    amplitudes: tuple[float, ...]
    attack: float = 0.01
    release: float = 0.1
    decay: float = 0.0


TIMBRES: dict[TimbreName, Timbre] = {
    "strings": Timbre((1.0, 0.7, 0.6, 0.45, 0.35, 0.25, 0.2, 0.15), attack=0.08, release=0.15),
    "organ": Timbre((1.0, 0.8, 0.0, 0.6, 0.0, 0.0, 0.0, 0.4), attack=0.02),
    "piano": Timbre((1.0, 0.5, 0.35, 0.25, 0.15, 0.1), attack=0.003, decay=1.5),
    "brass": Timbre((0.6, 0.9, 1.0, 0.8, 0.6, 0.4, 0.3, 0.2), attack=0.05),
    "woodwind": Timbre((1.0, 0.1, 0.5, 0.05, 0.2), attack=0.04),
    "guitar": Timbre((1.0, 0.7, 0.5, 0.3, 0.3, 0.2), attack=0.002, decay=3.0),
}
CHUNK = 1.0  # seconds of a note that are made at least, so that notes of most lengths are cut from one sound


class Partials:
    """Instruments that are added up from partials, each with its own attack and decay.

    Args:
        timbres: a selection of strings, organ, piano, brass, woodwind and guitar, by whose timbres they are named.
    """

    def __init__(self, timbres: tuple[TimbreName, ...] = tuple(TIMBRES)) -> None:
        self.timbres = timbres

    @property
    def names(self) -> tuple[str, ...]:
        """Of the instruments."""
        return self.timbres

    def identity(self) -> Any:
        """What they are made of."""
        return {name: asdict(TIMBRES[name]) for name in self.timbres}

    def play(self, score: Score, name: TimbreName, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score on one of the instruments, (num_samples,) float32."""
        release = round(TIMBRES[name].release * sample_rate)

        def note_of(pitch: int, length: int) -> np.ndarray:
            chunks = -(-(length + release) // round(CHUNK * sample_rate))
            return released(held_note(name, pitch, chunks, sample_rate), length, release)

        return lay_notes(score, num_samples, sample_rate, note_of)


@lru_cache(maxsize=512)
def held_note(name: TimbreName, pitch: int, chunks: int, sample_rate: int) -> np.ndarray:
    """A note that nobody lets go, so many `CHUNK`s of it, float32."""
    timbre = TIMBRES[name]
    time = np.arange(chunks * round(CHUNK * sample_rate), dtype=np.float32) / sample_rate
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    phases = np.random.default_rng(seeding.derive(pitch, "phases", name)).uniform(0, 2 * np.pi, len(timbre.amplitudes))
    total = np.zeros_like(time)
    for number, (amplitude, phase) in enumerate(zip(timbre.amplitudes, phases, strict=True), 1):
        if amplitude and number * frequency < 0.45 * sample_rate:
            wave = np.sin(np.float32(2 * np.pi * number * frequency) * time + np.float32(phase))
            total += amplitude * wave * np.exp(-timbre.decay * number**0.7 * time)
    return total * np.minimum(1, time / timbre.attack)


# General MIDI programs (from 0) of families that hold chords, each from the pitch on at which it takes over.
PROGRAMS: dict[str, tuple[tuple[int, int], ...]] = {
    "strings": ((0, 48),),  # an ensemble
    "organ": ((0, 19),),  # of a church
    "piano": ((0, 0),),
    "brass": ((0, 57), (60, 56)),  # trombone, trumpet
    "woodwind": ((0, 70), (55, 71), (67, 73)),  # bassoon, clarinet, flute
    "guitar": ((0, 24),),  # nylon
}
FLUSH = 0.1  # seconds in which what was played before is gone


class SoundFont:
    """The instruments of a SoundFont (.sf2, .sf3), chosen by their General MIDI programs.

    Args:
        path: the file.
        programs: name -> pairs of the lowest pitch and the program that plays from there on, in order of pitch.
    """

    def __init__(self, path: str | None = None, programs: dict[str, tuple[tuple[int, int], ...]] | None = None) -> None:
        self.path, self.programs = path, programs or PROGRAMS
        self._loaded: dict[int, tuple[Any, int]] = {}
        for name, ranges in self.programs.items():
            if not ranges or not all(0 <= number < 128 for pair in ranges for number in pair):
                raise InputError(f"SoundFont.programs {name!r}: give pairs of the lowest pitch and a program, 0 to 127")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the instruments."""
        return tuple(self.programs)

    def identity(self) -> Any:
        """The file by content, and the programs."""
        return [digest(self._file), {name: [list(pair) for pair in ranges] for name, ranges in self.programs.items()}]

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score on one of the instruments, (num_samples,) float32.

        Raises:
            InputError: no such file or none of a SoundFont, or tinysoundfont is not installed.
        """
        synth, font = self._synth(sample_rate)
        ranges = self.programs[name]
        for channel, (_, program) in enumerate(ranges):
            try:
                synth.program_select(channel, font, 0, program)
            except RuntimeError:
                raise InputError(
                    f"{self.path}: has no program {program}, of {name!r}; give another SoundFont"
                ) from None
        events = []
        for note in score.notes:
            channel = sum(note.pitch >= lowest for lowest, _ in ranges[1:])
            first, end = (round(score.seconds(quarter) * sample_rate) for quarter in (note.start, note.end))
            events.append((first, 1, channel, note.pitch, note.velocity))
            events.append((max(end, first + 1), 0, channel, note.pitch, 0))  # before a note that begins then
        parts, now = [], 0
        for when, begins, channel, pitch, velocity in sorted(events):
            if when > now:
                parts.append(generate(synth, min(when, num_samples) - now))
                now = when
            if begins:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        parts.append(generate(synth, max(num_samples - now, 0)))
        synth.sounds_off()
        generate(synth, round(FLUSH * sample_rate))
        return np.concatenate(parts)[:num_samples]

    @property
    def _file(self) -> Path:
        if self.path is None or not Path(self.path).is_file():
            raise InputError(
                f"{self.path}: no such SoundFont; give a .sf2 or .sf3 file, as by "
                "--set data.sources.0.instruments.0.path=FILE"
            )
        return Path(self.path)

    def _synth(self, sample_rate: int) -> tuple[Any, int]:
        if sample_rate not in self._loaded:
            path = self._file
            try:
                import tinysoundfont
            except ImportError:
                raise InputError("tinysoundfont is not installed; pip install 'synesthete[soundfont]'") from None
            synth = tinysoundfont.Synth(samplerate=sample_rate)
            try:
                self._loaded[sample_rate] = synth, synth.sfload(str(path))
            except Exception:  # the library has one of its own for each way to fail
                raise InputError(
                    f"{legible(str(path))}: not a SoundFont, or damaged; give a .sf2 or .sf3 file"
                ) from None
        return self._loaded[sample_rate]


def generate(synth: Any, num_samples: int) -> np.ndarray:
    """What a synthesiser plays next, both channels as one, (num_samples,) float32."""
    if num_samples <= 0:
        return np.zeros(0, np.float32)
    return np.frombuffer(synth.generate(num_samples), np.float32).reshape(-1, 2).mean(axis=1)
