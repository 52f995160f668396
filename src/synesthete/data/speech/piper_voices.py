"""The voices of Piper that speak a corpus, by split: twenty American ones, or those of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.data.speech.voices import SPLITS, Voice
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Twenty voices of rhasspy/piper-voices, in medium quality where it is published. Both sexes are in every split, and
# libritts and libritts_r, two recordings of the same speakers, in one.
PIPER_VOICES: dict[str, tuple[str, ...]] = {
    "train": (
        "en_US-amy-medium",
        "en_US-arctic-medium",
        "en_US-bryce-medium",
        "en_US-danny-low",
        "en_US-hfc_female-medium",
        "en_US-hfc_male-medium",
        "en_US-joe-medium",
        "en_US-kristin-medium",
        "en_US-l2arctic-medium",
        "en_US-libritts-high",
        "en_US-libritts_r-medium",
        "en_US-ryan-medium",
    ),
    "judge": (
        "en_US-kathleen-low",
        "en_US-kusal-medium",
        "en_US-lessac-medium",
        "en_US-norman-medium",
        "en_US-sam-medium",
    ),
    "test": ("en_US-john-medium", "en_US-ljspeech-medium", "en_US-reza_ibrahim-medium"),
}
QUALITIES = ("medium", "high", "low", "x_low")  # the first that is there is taken


def default_voices() -> dict[str, tuple[Voice, ...]]:
    """The twenty voices by split."""
    return {split: tuple(map(Voice, names)) for split, names in PIPER_VOICES.items()}


def split_by_speaker(names: Iterable[str]) -> dict[str, tuple[Voice, ...]]:
    """Any voices, LANGUAGE-SPEAKER-QUALITY, shared out: one quality a speaker, no speaker in two splits.

    A speaker of the twenty keeps the split it has there. Of the others a fifth goes to the judge and a fifth to the
    test, chosen by name, so that a voice more moves few of the rest.

    Raises:
        InputError: too few speakers for three splits.
    """
    best: dict[str, str] = {}
    for name in sorted(names, key=_quality):
        best.setdefault(speaker_of(name), name)
    known = {speaker_of(name): split for split, group in PIPER_VOICES.items() for name in group}
    shared: dict[str, list[str]] = {split: [] for split in SPLITS}
    for speaker in sorted(best.keys() & known.keys()):
        shared[known[speaker]].append(best[speaker])
    others = sorted(best.keys() - known.keys(), key=lambda name: digest(name.encode(), size=64))
    for split in ("judge", "test"):
        share = max(len(best.keys() - known.keys()) // 5, 0 if shared[split] else 1)
        shared[split] += [best[speaker] for speaker in others[:share]]
        others = others[share:]
    shared["train"] += [best[speaker] for speaker in others]
    if empty := [split for split, group in shared.items() if not group]:
        raise InputError(
            f"{len(best)} speakers ({', '.join(sorted(best)[:6])}), none left for {empty[0]}: add voices until train, "
            "judge and test have one each, or say in data.engine.voices which split has which"
        )
    return {split: tuple(Voice(name) for name in sorted(group)) for split, group in shared.items()}


def speaker_of(name: str) -> str:
    """The language and the speaker of a voice: en_US-amy of en_US-amy-medium."""
    return name.rpartition("-")[0].removesuffix("_r") or name


def check_split(voices: Mapping[str, Iterable[str]]) -> dict[str, tuple[Voice, ...]]:
    """Voices as given by split.

    Raises:
        InputError: a split that is not train, judge or test, or one without a voice.
    """
    if missing := [split for split in SPLITS if not voices.get(split)]:
        raise InputError(f"data.engine.voices: no voice for {missing[0]}; give some for each of {', '.join(SPLITS)}")
    if unknown := [split for split in voices if split not in SPLITS]:
        raise InputError(f"data.engine.voices: no split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    return {split: tuple(map(Voice, voices[split])) for split in SPLITS}


def _quality(name: str) -> tuple[int, str]:
    quality = name.rpartition("-")[2]
    return (QUALITIES.index(quality) if quality in QUALITIES else len(QUALITIES)), name
