"""Instruments made of a few partials: they need no files, and sound as different as instruments do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synesthete import seeding
from synesthete.data.scores.rendering import lay_notes, released

if TYPE_CHECKING:
    from synesthete.data.scores.score import Score


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
