"""The clips of a corpus: what is said for a class, drawn before anything is spoken, then spoken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import soxr
import torch
from pydantic import BeforeValidator
from torch import Tensor

from synesthete.config.document import read_yaml_file
from synesthete.data.audio import fit_length, peak_normalise, trim_silence, write_audio
from synesthete.data.files import Entry
from synesthete.data.speech.engines import MAX_PITCH, MIN_PITCH, MIN_RATE
from synesthete.seeding import generator
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.speech.engines import Engine, Voice


class Phrase(NamedTuple):
    """A class by its WordNet id, which names its folder in ImageNet, and by name, and what is said for it."""

    wnid: str
    name: str
    text: str


# The first ten classes of ImageNet (Deng et al. 2009).
PHRASES = (
    Phrase("n01440764", "tench", "A tench, a freshwater fish"),
    Phrase("n01443537", "goldfish", "A goldfish, bright orange fish"),
    Phrase("n01484850", "great white shark", "A great white shark, ocean predator"),
    Phrase("n01491361", "tiger shark", "A tiger shark with dark stripes"),
    Phrase("n01494475", "hammerhead", "A hammerhead shark with unique head"),
    Phrase("n01496331", "electric ray", "An electric ray with electric shocks"),
    Phrase("n01498041", "stingray", "A stingray gliding through water"),
    Phrase("n01514668", "rooster", "A rooster with colorful feathers"),
    Phrase("n01514859", "hen", "A hen pecking at seeds"),
    Phrase("n01518878", "ostrich", "An ostrich, the largest bird"),
)
TABLE = "imagenet-10"  # what data.words calls the phrases above


def phrases_for(class_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The phrase of each class that has one here, by its id or its name (n01440764, tench, 000_tench, tiger_shark)."""
    known = {key: phrase.text for phrase in PHRASES for key in (phrase.wnid, phrase.name)}
    return {name: (known[said],) for name in class_names if (said := spoken_name(name)) in known}


def spoken_name(class_name: str) -> str:
    """A class's name as one says it: `003_tiger_shark` is `tiger shark`; a name without underscores stays as it is."""
    return re.sub(r"^\d+_(?=\D)", "", class_name).replace("_", " ").strip() or class_name


def read_words(words: Any) -> Any:
    """What is said, by class: a YAML or JSON file that holds it, given by its path, is read; the rest is returned."""
    if not isinstance(words, str | Path) or words == TABLE:
        return words
    remedy = "give a YAML or JSON file such as cat: [a cat, a cat asleep]"
    found = read_yaml_file(Path(words).expanduser(), remedy)  # JSON is YAML
    if not isinstance(found, dict):
        raise InputError(f"{words}: no table of classes in it; write a line a class, such as cat: a cat, asleep")
    # A number is said as it is written.
    return {
        str(name): [str(one) for one in said] if isinstance(said, list) else str(said) for name, said in found.items()
    }


def phrases_by_class(class_names: Iterable[str], words: Mapping[str, Any] | str | None) -> dict[str, tuple[str, ...]]:
    """Everything that is said for each class: by `words`, or else its name.

    words: class -> a phrase or several, those of other classes being left out; `imagenet-10` for the table of this
    module; None for names alone.
    """
    names = tuple(class_names)
    given: Mapping[str, Any] = phrases_for(names) if words == TABLE else words if isinstance(words, dict) else {}
    several = {name: given.get(name, spoken_name(name)) for name in names}
    return {name: (said,) if isinstance(said, str) else tuple(said) for name, said in several.items()}


# A path is read when a recipe's field is set, so that the recipe keeps the words and not where they lay.
Words = Annotated[dict[str, str | tuple[str, ...]] | str | None, BeforeValidator(read_words)]


# A split's draws keep the name they were first given: another name would speak other clips.
SEED_NAMES = {"classifier": "judge"}
TOP_RATE = 320  # words a minute; faster than this nobody follows


@dataclass(frozen=True)
class CorpusPlan:
    """The arguments of a corpus, checked; `draw` tells the clips they make.

    phrases: by class. voices: by split. rates in words a minute, pitches from 0 to 99, both ends included.
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
        chance = generator(self.seed, SEED_NAMES.get(split, split), voice.speaker, label, take)
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


# Fewer different sounds a class than this teach a model that the sound does not depend on the picture.
FEW_TARGETS = 8


def count_targets(entries: Iterable[Entry]) -> dict[str, int]:
    """How many different sounds each class has, by what decides one: voice, text, rate and pitch."""
    sounds: dict[str, set[tuple[object, ...]]] = {}
    for entry in entries:
        decides = (entry.speaker, entry.text, entry.rate, entry.pitch, entry.semitones)
        sounds.setdefault(entry.label, set()).add(decides)
    return {label: len(found) for label, found in sounds.items()}


def few_targets(counts: Mapping[str, int]) -> str | None:
    """Why the sounds are too few for a model to need the picture, in plain words; None where every class has enough.

    counts: different clips by class. A denoiser recognises one of a few clips by what the noise leaves of it, from then
    on the picture tells it nothing new: 13,000 pictures on ten sounds left a public model at chance (10%).
    """
    poorest = min(counts, key=lambda label: counts[label], default=None)
    if poorest is None or counts[poorest] >= FEW_TARGETS:
        return None
    return (
        f"{sum(counts.values())} different clips of {len(counts)} classes, {counts[poorest]} of {poorest!r} (fewer "
        f"than {FEW_TARGETS}): a model can learn them by heart and ignore the picture; add voices or takes "
        "(data.takes), phrases (data.words), or vary data.speeds and data.semitones"
    )


KINDS = ("none", "speed", "pitch", "both")
SHARES = (0.1, 0.3, 0.3, 0.3)


@dataclass(frozen=True)
class Variation:
    """What is drawn for a clip.

    speeds: how many times faster than the rate drawn, drawn evenly between the two, in hundredths. semitones: how much
    higher, drawn evenly, in tenths. shares: of the clips with neither, with another speed, with another pitch, and with
    both. A pair that is None is left as it is, whatever its share.
    """

    speeds: tuple[float, float] | None = None
    semitones: tuple[float, float] | None = None
    shares: tuple[float, float, float, float] = SHARES

    def __post_init__(self) -> None:
        for name, pair, least, most in (("speeds", self.speeds, 0.5, 2.0), ("semitones", self.semitones, -6, 6)):
            if pair is not None and not least <= pair[0] <= pair[1] <= most:
                raise InputError(
                    f"{name} {pair[0]:g} to {pair[1]:g}: give two numbers from {least:g} to {most:g}, the lower first"
                )
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(f"shares {self.shares}: give those of {', '.join(KINDS)}, 1 together")

    @property
    def is_on(self) -> bool:
        """Whether anything is varied."""
        return self.speeds is not None or self.semitones is not None

    def draw(self, chance: torch.Generator) -> tuple[float, float]:
        """A speed and a pitch in semitones, 1 and 0 where the kind drawn leaves them."""
        kind, speed, semitones = torch.rand(3, generator=chance, dtype=torch.float64).tolist()
        _, faster, higher, both = self.shares
        with_speed = kind < faster or faster + higher <= kind < faster + higher + both
        with_pitch = faster <= kind < faster + higher + both
        return (
            round(np.interp(speed, (0, 1), self.speeds).item(), 2) if self.speeds and with_speed else 1.0,
            round(np.interp(semitones, (0, 1), self.semitones).item(), 1) if self.semitones and with_pitch else 0.0,
        )


RATE_STEP = 10  # words a minute, by which a phrase that does not fit is said faster


@dataclass(frozen=True)
class Job:
    """The clips of one voice and one class, which one worker speaks one after the other."""

    folder: Path
    voice: str
    entries: tuple[Entry, ...]
    num_samples: int
    sample_rate: int


def speak_clip(engine: Engine, job: Job, entry: Entry) -> tuple[Tensor, Entry]:
    """A finished clip (num_samples,), and its entry with the rate it was said at: as drawn, or faster until it fits.

    Raises:
        InputError: it does not fit at the fastest rate either.
        RuntimeError: the engine failed.
    """
    text, drawn, most = entry.text or "", entry.rate or 0, job.num_samples
    for rate in (*range(drawn, TOP_RATE, RATE_STEP), TOP_RATE):
        spoken, engine_rate = engine.speak(text, job.voice, rate, entry.pitch or 0, entry.semitones or 0.0)
        waveform = torch.from_numpy(soxr.resample(spoken.numpy(), engine_rate, job.sample_rate))  # (S,)
        waveform = trim_silence(waveform, job.sample_rate)
        if len(waveform) == 0:
            raise RuntimeError(f"{job.voice}: the speech engine said {text!r} as silence")
        if len(waveform) <= most:
            speed = None if entry.speed is None else round(entry.speed * rate / drawn, 2)
            faster = entry if rate == drawn else replace(entry, rate=rate, speed=speed)
            return fit_length(peak_normalise(waveform), most), faster
    raise InputError(
        f"{text!r}: {len(waveform) / job.sample_rate:.2f} s long at {TOP_RATE} words a minute by {job.voice}; "
        f"give more seconds (now {most / job.sample_rate:.2f}) or say less"
    )


def speak_job(engine: Engine, job: Job) -> tuple[list[Entry], list[str]]:
    """Speak and write the clips of a job; the entries as spoken, and a line for each clip the engine failed at."""
    entries, failures = [], []
    for entry in job.entries:
        try:
            waveform, spoken = speak_clip(engine, job, entry)
        except RuntimeError as error:
            failures.append(f"{entry.audio}: {error}")
            continue
        write_audio(job.folder / str(entry.audio), waveform, job.sample_rate)
        entries.append(spoken)
    return entries, failures
