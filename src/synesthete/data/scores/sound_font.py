"""SoundFonts: instruments in a file, by tinysoundfont."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete.data.files import legible
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.scores.score import Score

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

    @cached_property
    def _loaded(self) -> dict[int, tuple[Any, int]]:
        return {}


def generate(synth: Any, num_samples: int) -> np.ndarray:
    """What a synthesiser plays next, both channels as one, (num_samples,) float32."""
    if num_samples <= 0:
        return np.zeros(0, np.float32)
    return np.frombuffer(synth.generate(num_samples), np.float32).reshape(-1, 2).mean(axis=1)
