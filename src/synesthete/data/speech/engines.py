"""What speaks: the contract of a speech engine, engines by name, and the voices of the embedded one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from synesthete.config import build, find_class, is_a
from synesthete.io import tab_separated
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

OWN_RATE, OWN_PITCH = 160, 50  # at these a neural voice speaks as it was trained
SEMITONES_A_STEP = 12 / 50  # of pitch: the same as a step of the embedded engine for a voice without melody
ENGINES = {"espeak": "Espeak", "piper": "Piper", "kokoro": "Kokoro"}  # classes by their short names


class Engine(Protocol):
    """Speaks a text; the same call gives the same samples. It can be sent to another process."""

    def identity(self) -> str:
        """The engine, its version and what else decides its sound but the name of a voice."""

    def split_voices(self) -> Mapping[str, tuple[Voice, ...]]:
        """The voices to speak with, by split (train, classifier, test); no voice is in two."""

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """Make sure that there is such a voice, and that it reaches that pitch; InputError else."""

    def speak(self, text: str, voice: str, rate: int, pitch: int, semitones: float = 0.0) -> tuple[Tensor, int]:
        """The waveform (S,) float32 in [-1, 1], and its sample rate in Hz.

        rate in words a minute, at the same pitch. pitch 0 to 99, 50 the voice's own. semitones: higher than that, at
        the same duration. InputError: as `check_voice`, or a rate out of reach. RuntimeError: nothing was said.
        """

    def keeps_pitch(self, voice: str) -> bool:
        """Whether everything is said at the voice's own pitch, whatever pitch is drawn."""
        return False


def named_engine(engine: Any) -> Any:
    """A build of the engine of that name; anything but a name as it is."""
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise InputError(f"no speech engine {engine!r}; give {' or '.join(ENGINES)}")
    return build(find_class(ENGINES[engine]))


# A name is looked up when a recipe's field is set, so that the engine's own fields can be set next.
EngineChoice = Annotated[
    Annotated[Any, is_a("speech engine", "speak", "check_voice", "keeps_pitch")] | None, BeforeValidator(named_engine)
]

SPLITS = ("train", "classifier", "test")


class Mixed:
    """Several engines as one: the voices of all of them, each spoken by the engine that has it.

    Raises:
        InputError: no engine.
    """

    def __init__(self, engines: tuple[Any, ...]) -> None:
        if not engines:
            raise InputError("data.engine.engines: none given; give at least one")
        self.engines: tuple[Engine, ...] = tuple(named_engine(e)() if isinstance(e, str) else e for e in engines)

    def identity(self) -> str:
        """The engines', one after the other."""
        return "; ".join(engine.identity() for engine in self.engines)

    def split_voices(self) -> dict[str, tuple[Voice, ...]]:
        """The voices of all, by split."""
        found = [engine.split_voices() for engine in self.engines]
        return {split: tuple(voice for voices in found for voice in voices[split]) for split in SPLITS}

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """As the engine that has the voice."""
        self._engine_of(voice).check_voice(voice, pitch, semitones)

    def speak(
        self, text: str, voice: str, rate: int = 160, pitch: int = 50, semitones: float = 0.0
    ) -> tuple[Tensor, int]:
        """As the engine that has the voice speaks."""
        return self._engine_of(voice).speak(text, voice, rate, pitch, semitones)

    def keeps_pitch(self, voice: str) -> bool:
        """As the engine that has the voice."""
        return self._engine_of(voice).keeps_pitch(voice)

    def _engine_of(self, voice: str) -> Engine:
        for engine in self.engines:
            if any(voice == own.name for voices in engine.split_voices().values() for own in voices):
                return engine
        raise InputError(f"voice {voice!r}: none of the {len(self.engines)} engines has it; name one of theirs")


@dataclass(frozen=True)
class Voice:
    """A voice, as its engine calls it, and the share of its words that a listener understood; None: not measured."""

    name: str
    heard: float | None = None

    @property
    def speaker(self) -> str:
        """The name in file names and manifests: en-us-f3."""
        return self.name.replace("+", "-")

    @property
    def variant(self) -> str:
        """The timbre, f3 of en-us+f3; empty for a plain accent."""
        return self.name.partition("+")[2]


# Three groups of espeak's in voices.tsv that share no voice and no timbre.
#
# `heard` is the share of the words zero to nine, said at 130 and 165 words a minute, that pocketsphinx understood with
# a grammar of those ten words (chance 0.10); measured on 2026-11-20 with espeak-ng 1.52.0 by
#
#     python benchmarks/screen_voices.py
#
# Of 65 human-like variants (no robots, whispers or croaks) in eight accents, 38 voices were taken: for training those
# heard to 0.90 or more, since a model speaks no clearer than its teachers, for the classifier and the test those heard
# to 0.80 or more. Every group has both sexes and at least six accents; of the West Midlands (en-gb-x-gbcwmd) most were
# heard to 0.65 and none was taken. Variants that sound nearly alike (Hugo and Denis, f2 and f5) were kept in one group:
# between groups, the mean difference of the log-mel spectra of the same words, stretched to one length, is at least
# 0.2, where that of two voices taken at random is 0.5 and that of the nearest pair 0.1.
#
# Kokoro's are its English voices but af_nicole, who whispers: the first letter is the accent (American or British), the
# second the sex; every split has both sexes and both accents. Piper's are twenty of rhasspy/piper-voices, in medium
# quality where it is published: both sexes are in every split, and libritts and libritts_r, two recordings of the same
# speakers, in one.
@cache
def split_voices(engine: str = "espeak") -> dict[str, tuple[Voice, ...]]:
    """An engine's voices of each split: of the generator, of its classifier, and those that neither has heard."""
    rows = [row for row in tab_separated(Path(__file__).with_name("voices.tsv")) if row[0] == engine]
    voices = [(split, Voice(name, None if heard == "-" else float(heard))) for _, split, name, heard in rows]
    return {split: tuple(voice for own, voice in voices if own == split) for split in SPLITS}
