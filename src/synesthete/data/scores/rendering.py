"""Scores as sound: what plays them, and how their notes are laid over one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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
        ...

    def identity(self) -> Any:
        """Plain values that are others whenever the same notes would sound different."""
        ...

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score from its beginning on one instrument: (num_samples,) float32, of any loudness, always the same."""
        ...


def render(score: Score, instruments: Instruments, name: str, sample_rate: int, lead: float = 0.0) -> np.ndarray:
    """A score as sound: (S,) float32 in [-1, 1], after `lead` seconds of silence and with a second to die away.

    All pieces come out about as loud. name: of the instrument; nothing else decides the sound.

    Raises:
        InputError: no such instrument, an hour of music or more, or whatever the instruments lack.
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
