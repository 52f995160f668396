"""The key that a piece is in, by how long each pitch class sounds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.scores.score import Mode, Score

MODES: tuple[Mode, ...] = ("major", "minor")
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEY_NAMES = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS)  # by 12 * mode + tonic
# How well each pitch class fits, from the tonic up. Source: Krumhansl & Kessler 1982, table 2.
PROFILES = np.array(
    [
        [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
        [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
    ]
)
LAST_BASS = 0.15  # of a correlation, for the key whose tonic the piece ends on in the bass


def find_key(score: Score) -> tuple[int, Mode]:
    """(tonic, mode), tonic 0 is C: the profile that correlates best, the last bass note a hint. Needs a note."""
    weights = np.zeros(12)
    for note in score.notes:
        weights[note.pitch % 12] += note.duration
    last = min((note for note in score.notes if note.end >= score.length - 0.01), key=lambda note: note.pitch)
    fits = {}
    for mode, profile in zip(MODES, PROFILES, strict=True):
        for tonic in range(12):
            fit = np.corrcoef(weights, np.roll(profile, tonic))[0, 1]
            fits[tonic, mode] = float(np.nan_to_num(fit)) + LAST_BASS * (last.pitch % 12 == tonic)
    return max(fits, key=lambda key: fits[key])


def read_key(text: str) -> tuple[int, Mode]:
    """What a key's name says, such as "D minor", "bb", or "F# major"; major where no mode is named.

    Raises:
        InputError: no key's name.
    """
    found = re.fullmatch(r"\s*([a-g])([#b]?)\s*(major|minor|)\s*", text, re.IGNORECASE)
    if found is None:
        raise InputError(f"key {text!r}: no such key; give a tonic and major or minor, such as 'D minor' or 'Bb major'")
    tonic = TONICS.index(found[1].upper()) + {"": 0, "#": 1, "b": -1}[found[2].lower()]
    return tonic % 12, "minor" if found[3].lower() == "minor" else "major"


def key_name(tonic: int, mode: Mode) -> str:
    """As `KEY_NAMES` has it."""
    return f"{TONICS[tonic]} {mode}"
