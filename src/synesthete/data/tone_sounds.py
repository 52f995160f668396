"""Sounds of classes that need no data: small melodies, for trials of recipes whose recordings are not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.data.found_pairs import AudioEntry, Found
from synesthete.data.tones import TIMBRES, Tone
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APART = 1000  # between the melodies' numbers of two classes


class ToneSounds:
    """Melodies for sounds of each class, of its own timbre as far as there are timbres; nothing is downloaded.

    Args:
        class_names: the classes. num: sounds of each. seconds, sample_rate: of each sound.
    """

    def __init__(
        self, class_names: tuple[str, ...], num: int = 8, seconds: float = 1.0, sample_rate: int = 16_000
    ) -> None:
        if not 1 <= num < APART or not seconds > 0 or sample_rate < 1000:
            raise InputError(f"ToneSounds: num {num}, {seconds} s at {sample_rate} Hz; give 1 to {APART - 1} of some")
        self.class_names, self.num, self.seconds, self.sample_rate = class_names, num, seconds, sample_rate

    def pairs(self, folder: Path, progress: Callable[[str, int, int], None]) -> Found:
        """The sounds, each synthesised when it is read; nothing is written to the folder."""
        found = Found()
        for number, name in enumerate(self.class_names):
            for i in range(self.num):
                tone = Tone(TIMBRES[number % len(TIMBRES)], APART * number + i, self.seconds, self.sample_rate)
                found.sounds.append(AudioEntry(tone, name, f"{name}/{i:03d}.wav"))
        return found
