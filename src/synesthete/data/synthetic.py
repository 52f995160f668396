"""Recordings that need no data: small melodies in a few timbres, for tests and for trials of recipes of music."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from synesthete import seeding
from synesthete.data.audio import BLOCK
from synesthete.data.found_pairs import AudioEntry, FoundPairs, PairSource
from synesthete.data.picture import PictureArray
from synesthete.data.pictures import Pictures, PictureSource
from synesthete.data.recordings import Recording
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.data.files import Split

Timbre = Literal["plucked", "organ", "drum", "noise"]
TIMBRES: tuple[Timbre, ...] = get_args(Timbre)
PENTATONIC = (0, 2, 4, 7, 9, 12)  # semitones
ORGAN = (1.0, 0.7, 0.4, 0.3, 0.0, 0.25, 0.0, 0.15)  # amplitudes of the harmonics


@dataclass(frozen=True, slots=True)
class Tone(Recording):
    """A melody of one timbre, synthesised when it is read: the same each time."""

    timbre: Timbre
    number: int
    seconds: float
    rate: int

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.rate

    def stamp(self) -> str:
        """All that decides the sound."""
        return f"{self.timbre} {self.number} {self.seconds} {self.rate}"

    content = stamp

    def num_samples(self) -> int:
        """Of its one channel."""
        return round(self.seconds * self.rate)

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples (n, 1) float32."""
        samples = synthesise(self)[:, None].astype(np.float32)
        for first in range(0, len(samples), BLOCK):
            yield samples[first : first + BLOCK]


def tone(timbre: Timbre, number: int, seconds: float, rate: int) -> Tone:
    """A melody as a file in the folder of its timbre."""
    return Tone(f"{timbre} tones {number}", f"{timbre}/{number:03d}.wav", timbre, number, seconds, rate)


class Tones:
    """Small melodies, recorded nowhere: each timbre a class, each recording with its own notes, tempo and level.

    Args:
        num: recordings of each timbre. seconds: length of each. sample_rate: in Hz.
        timbres: a selection of plucked, organ, drum and noise; they are the folders that the recordings seem to lie in.
    """

    def __init__(
        self, num: int = 8, seconds: float = 3.0, sample_rate: int = 16_000, timbres: tuple[Timbre, ...] = TIMBRES
    ) -> None:
        if num < 1 or not seconds > 0 or sample_rate < 1000:
            raise InputError(f"Tones: num {num}, {seconds} s at {sample_rate} Hz; give at least 1 of more than 0 s")
        self.num, self.seconds, self.sample_rate, self.timbres = num, seconds, sample_rate, timbres

    def recordings(self) -> list[Recording]:
        """`num` of each timbre."""
        return [
            tone(timbre, number, self.seconds, self.sample_rate)
            for timbre in self.timbres
            for number in range(self.num)
        ]


def synthesise(melody: Tone) -> np.ndarray:
    """The samples (S,) of a melody, at most 0.9 in size."""
    draw = np.random.default_rng(seeding.derive(melody.number, "tones", melody.timbre))
    num, rate = melody.num_samples(), melody.rate
    spacing = draw.uniform(0.2, 0.5)  # seconds between the beginnings of notes
    root = 110 * 2 ** draw.uniform(0, 2)  # Hz
    length = int(2.5 * spacing * rate) + 1
    mixed = np.zeros(num + length)
    for first in range(0, num, max(1, int(spacing * rate))):
        if first and draw.random() < 0.15:
            continue  # a rest
        frequency = root * 2 ** (draw.choice(PENTATONIC) / 12)
        mixed[first : first + length] += draw.uniform(0.5, 1) * note(melody.timbre, frequency, length, rate, draw)
    mixed = mixed[:num]
    return mixed * (draw.uniform(0.3, 0.9) / max(np.abs(mixed).max(), 1e-9))


def note(timbre: Timbre, frequency: float, length: int, rate: int, draw: np.random.Generator) -> np.ndarray:
    """One note (length,) from its attack on, its end faded out."""
    time = np.arange(length) / rate  # seconds
    fade = np.minimum(1, (length - np.arange(length)) / (0.02 * rate))
    if timbre == "drum":
        kick = np.sin(2 * np.pi * (frequency / 2 * time + 3 * (1 - np.exp(-30 * time)))) * np.exp(-12 * time)
        return (kick + 0.5 * draw.normal(size=length) * np.exp(-25 * time)) * fade
    if timbre == "noise":
        swell = np.sin(np.pi * np.minimum(1, time / time[-1])) ** 2
        # White noise moved to around the pitch: its band is as wide as the average over a period.
        kernel = np.cos(2 * np.pi * frequency * 4 * time[: max(2, rate // 200)])
        return np.convolve(draw.normal(size=length), kernel, mode="same") * swell * 0.3
    harmonics = [h for h in range(1, 9) if h * frequency < rate / 2]
    waves = [np.sin(2 * np.pi * h * frequency * time) for h in harmonics]
    if timbre == "organ":
        attack = np.minimum(1, time / 0.03)
        return sum(ORGAN[h - 1] * wave for h, wave in zip(harmonics, waves, strict=True)) * attack * fade
    # A plucked string: harmonic h of strength 1 / h, dying away the faster the higher it is.
    strings = (wave / h * np.exp(-3 * h * time) for h, wave in zip(harmonics, waves, strict=True))
    return np.sum(list(strings), axis=0) * fade


APART = 1000  # between the melodies' numbers of two classes


class ToneSounds(PairSource):
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

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The sounds, each synthesised when it is read; nothing is written to the folder."""
        found = FoundPairs()
        for number, name in enumerate(self.class_names):
            for i in range(self.num):
                heard = tone(TIMBRES[number % len(TIMBRES)], APART * number + i, self.seconds, self.sample_rate)
                found.sounds.append(AudioEntry(heard, name, f"{name}/{i:03d}.wav"))
        return found


class Swatches(PictureSource):
    """Small noisy pictures, each class with a colour of its own: enough to see that everything runs, and to learn from.

    Args:
        class_names: the classes. num_train, num_test: pictures of each class in a split. size: side in pixels.
    """

    def __init__(self, class_names: tuple[str, ...], num_train: int = 16, num_test: int = 4, size: int = 32) -> None:
        self.class_names, self.num_train, self.num_test, self.size = class_names, num_train, num_test, size

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, drawn anew each time, always the same."""
        found = Pictures()
        for number, name in enumerate(self.class_names):
            colour = np.random.default_rng(seeding.derive(number, "colour")).uniform(40, 215, size=3)
            draw = np.random.default_rng(seeding.derive(number, "swatches", split))
            for i in range(self.num_train if split == "train" else self.num_test):
                values = np.clip(colour + draw.normal(0, 20, (self.size, self.size, 3)), 0, 255).astype(np.uint8)
                found.files.append(PictureArray(f"{split} swatch {i} of {name}", values))
                found.labels.append(name)
        return found
