"""What a corpus is to hold: every clip with its voice, phrase, rate and pitch, drawn before anything is spoken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.manifest import Entry
from synesthete.data.speech.espeak import MAX_PITCH, MIN_PITCH, MIN_RATE
from synesthete.seeding import generator
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synesthete.data.speech.variation import Variation
    from synesthete.data.speech.voices import Voice

TOP_RATE = 320  # words a minute; faster than this nobody follows


@dataclass(frozen=True)
class Plan:
    """The arguments of a corpus, checked; `draw` tells the clips they make.

    phrases: by class. voices: by split. rates in words a minute, pitches from 0 to 99, both ends included.

    Raises:
        InputError: arguments that no corpus can be made of.
    """

    phrases: Mapping[str, tuple[str, ...]]
    voices: Mapping[str, Sequence[Voice]]
    takes: int
    num_samples: int
    sample_rate: int
    rates: tuple[int, int]
    pitches: tuple[int, int]
    variation: Variation
    seed: int

    def __post_init__(self) -> None:
        if not self.phrases:
            raise InputError("words: no classes; give at least one class and what is said for it")
        for name, said in self.phrases.items():
            if not name or name.startswith(".") or set(name) & set("/\\:\0"):
                raise InputError(f"class {name!r}: cannot be the name of a folder; rename it")
            if not said or not all(text.strip() for text in said):
                raise InputError(f"class {name!r}: nothing to say; give it at least one word")
        if self.takes < 1 or self.num_samples < 1:
            raise InputError(
                f"takes {self.takes}, {self.num_samples} samples a clip: nothing to make; give at least 1 of each"
            )
        slowest, fastest = self.variation.speeds or (1.0, 1.0)
        limits = (
            ("rates", self.rates, MIN_RATE, TOP_RATE),
            ("rates times speeds", (self.rates[0] * slowest, self.rates[1] * fastest), MIN_RATE, TOP_RATE),
            ("pitches", self.pitches, MIN_PITCH, MAX_PITCH),
        )
        for what, (low, high), least, most in limits:
            if not least <= low <= high <= most:
                wanted = f"give two numbers from {least} to {most}, the lower first"
                raise InputError(f"{what} {low:g} to {high:g}: {wanted}")
        speakers = Counter(voice.speaker for group in self.voices.values() for voice in group)
        if not speakers:
            raise InputError("voices: none given; leave them out for the package's own")
        if twice := [name for name, count in speakers.items() if count > 1]:
            raise InputError(f"voice {twice[0]}: given twice; splits may not share a voice")

    def settings(self) -> dict[str, Any]:
        """Everything that decides the clips, as plain values; what is off is left out."""
        varied = {"speeds": self.variation.speeds, "semitones": self.variation.semitones}
        return {
            "words": {name: list(said) for name, said in self.phrases.items()},
            "num_samples": self.num_samples,
            "sample_rate": self.sample_rate,
            "takes": self.takes,
            "rates": list(self.rates),
            "pitches": list(self.pitches),
            **{name: list(pair) for name, pair in varied.items() if pair is not None},
            **({"shares": list(self.variation.shares)} if self.variation.is_on else {}),
            "seed": self.seed,
            "voices": {split: [voice.name for voice in group] for split, group in self.voices.items()},
        }

    def draw(self) -> dict[tuple[str, str, str], tuple[Entry, ...]]:
        """The manifest as drawn, by (split, voice, class), before any phrase was found too long."""
        return {
            (split, voice.name, label): tuple(self._entry(split, voice, label, take) for take in range(self.takes))
            for split, group in self.voices.items()
            for voice in group
            for label in self.phrases
        }

    def _entry(self, split: str, voice: Voice, label: str, take: int) -> Entry:
        chance = generator(self.seed, split, voice.speaker, label, take)
        rate, pitch = (
            int(torch.randint(low, high + 1, (), generator=chance)) for low, high in (self.rates, self.pitches)
        )
        speed, semitones = self.variation.draw(chance) if self.variation.is_on else (1.0, 0.0)
        said = self.phrases[label]
        return Entry(
            label=label,
            audio=f"{split}/{label}/{voice.speaker}_{take:03d}.wav",
            text=said[take % len(said)],
            speaker=voice.speaker,
            rate=round(rate * speed),
            pitch=pitch,
            speed=speed if self.variation.speeds else None,
            semitones=semitones if self.variation.semitones else None,
            split=split,
        )
