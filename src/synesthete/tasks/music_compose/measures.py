"""Pieces as music: scale and key, how many notes sound, rhythm, voice leading, chords under a melody, copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from synesthete.data.scores.score import BAR, COLUMNS, PROFILES

if TYPE_CHECKING:
    from torch import Tensor

MAJOR = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))  # pitch classes of a major scale, from its tonic up
LEAP = 12  # semitones; a larger step within a voice is a leap
PERFECT = (0, 7)  # octaves and fifths, whatever the octave: two voices that move in them sound as one
MOST_SHIFTED = 12  # semitones by which a copy may be moved
IN_ANY = 2  # pieces of training that have a chord under a note before it counts as one of theirs

# What is measured of a piece, and what it is called.
FIGURES = {
    "in_scale": "notes in the best scale",
    "key_correlation": "correlation of pitch classes with the profile of the best key",
    "columns_with_note": "sixteenth notes with a note",
    "notes_at_once": "notes at once",
    "pitch_class_entropy": "entropy of pitch classes in bits",
    "groove_consistency": "groove: sixteenth notes of a bar that begin a note, or do not, as in the bar before",
    "parallels": "parallel fifths and octaves a bar",
    "leaps": "leaps of more than an octave a bar",
}

Chord = frozenset[int]  # pitch classes above the tonic


def measure_piece(grid: Tensor) -> dict[str, float]:
    """The FIGURES of a piece (V, 2, T); of one without a note, 0, or the worst."""
    pitch, begins = grid.long().numpy().transpose(1, 0, 2)  # (V, T)
    sounds = pitch > 0
    heard = sounds.any(0)
    num_bars = max(int(heard.reshape(-1, BAR).any(1).sum()), 1)
    classes = np.bincount(pitch[sounds] % 12, minlength=12).astype(float)
    shares = classes / max(classes.sum(), 1)
    present = shares[shares > 0]
    onsets = (begins > 0).any(0).reshape(-1, BAR)  # (bars, 16)
    alike = [float((a == b).mean()) for a, b in pairwise(onsets) if a.any() or b.any()]
    return {
        "in_scale": max(float(shares[np.roll(MAJOR, tonic)].sum()) for tonic in range(12)),
        "key_correlation": float(key_fits(classes).max()),
        "columns_with_note": float(heard.mean()),
        "notes_at_once": float(sounds.sum() / max(heard.sum(), 1)),
        "pitch_class_entropy": float(-(present * np.log2(present)).sum()),
        "groove_consistency": float(np.mean(alike)) if alike else 0.0,
        "parallels": count_parallels(pitch) / num_bars,
        "leaps": count_leaps(pitch) / num_bars,
    }


def key_fits(classes: np.ndarray) -> np.ndarray:
    """How well each key's profile (24,), 12 * mode + tonic, correlates with how long each pitch class (12,) sounds."""
    if not classes.std():
        return np.zeros(24)
    return np.array([np.corrcoef(classes, np.roll(profile, k))[0, 1] for profile in PROFILES for k in range(12)])


def sounding_key(grid: Tensor) -> int:
    """The key, 12 * mode + tonic, that a piece (V, 2, T) is most likely in, by its pitch classes alone."""
    pitch = grid[:, 0].long().numpy()
    return int(key_fits(np.bincount(pitch[pitch > 0] % 12, minlength=12).astype(float)).argmax())


def count_parallels(pitch: np.ndarray) -> int:
    """How often two voices of (V, T) move from a fifth to a fifth, or an octave to an octave, in one direction."""
    found = 0
    for upper, lower in combinations(pitch, 2):
        moved = np.diff(upper), np.diff(lower)
        there = (upper > 0) & (lower > 0)
        interval = (upper - lower) % 12
        same = (interval[1:] == interval[:-1]) & np.isin(interval[1:], PERFECT) & there[1:] & there[:-1]
        found += int((same & (np.sign(moved[0]) == np.sign(moved[1])) & (moved[0] != 0)).sum())
    return found


def count_leaps(pitch: np.ndarray) -> int:
    """How often a voice of (V, T) goes on more than an octave away."""
    return sum(int((np.abs(np.diff(voice[voice > 0])) > LEAP).sum()) for voice in pitch)


@dataclass(frozen=True)
class Harmony:
    """By mode and a melody's pitch class above the tonic, how many pieces learned from have each chord there."""

    chords: dict[tuple[int, int], Counter[Chord]]

    @staticmethod
    def of(grids: Tensor, keys: Tensor, pieces: Tensor) -> Harmony:
        """Of windows (n, V, 2, T) in keys (n,), each of one of `pieces` (n,)."""
        found: dict[tuple[int, int], dict[Chord, set[int]]] = defaultdict(lambda: defaultdict(set))
        for grid, key, piece in zip(grids, keys.tolist(), pieces.tolist(), strict=True):
            for note, chord in beats(grid, key):
                found[key // 12, note][chord].add(piece)
        counts = {at: Counter({chord: len(of) for chord, of in chords.items()}) for at, chords in found.items()}
        return Harmony(counts)

    def share(self, grids: Iterable[Tensor], keys: Sequence[int]) -> list[float]:
        """Of each piece (V, 2, T) the share of beats with a melody whose chord some pieces have under its note."""
        shares = []
        for grid, key in zip(grids, keys, strict=True):
            known = [self.knows(key // 12, note, chord) for note, chord in beats(grid, key)]
            shares.append(float(np.mean(known)) if known else 0.0)
        return shares

    def knows(self, mode: int, note: int, chord: Chord) -> bool:
        """Whether IN_ANY pieces have the chord under the note."""
        return self.chords.get((mode, note), Counter())[chord] >= IN_ANY


def beats(grid: Tensor, key: int) -> list[tuple[int, Chord]]:
    """The melody's note and the chord of each beat on which it sounds, as pitch classes above the tonic."""
    pitch = grid[:, 0, ::COLUMNS].long().T.tolist()  # (beats, V)
    relative = [[(p - key) % 12 for p in column if p] for column in pitch]
    return [(notes[0], frozenset(notes)) for column, notes in zip(pitch, relative, strict=True) if column[0]]


def random_chords(grid: Tensor, key: int, rng: np.random.Generator) -> Tensor:
    """The melody of a piece (V, 2, T) over a triad a beat, drawn from the key's seven."""
    scale = [0, 2, 3, 5, 7, 8, 10] if key >= 12 else [0, 2, 4, 5, 7, 9, 11]
    made = grid.clone()
    num_voices = len(grid)
    for first in range(0, grid.shape[-1], COLUMNS):
        degree = int(rng.integers(7))
        for voice in range(1, num_voices):
            tone = (key + scale[(degree + 2 * ((voice - 1) % 3)) % 7]) % 12
            made[voice, 0, first : first + COLUMNS] = 60 - 12 * (voice // 2) + tone
    return made


def nearest_shares(made: Tensor, others: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of each piece (n, V, 2, T) the largest share (n,) of its notes that one of `others` has in any key, and which."""
    theirs = others[:, :, 0].numpy().astype(np.int16)  # (m, V, T)
    there = theirs > 0
    shares, places = [], []
    for grid in made[:, :, 0].numpy().astype(np.int16):
        sounds = grid > 0
        apart = np.where(there & sounds, theirs - grid, 99)  # (m, V, T)
        counts = np.stack([(apart == shift).sum((1, 2)) for shift in range(-MOST_SHIFTED, MOST_SHIFTED + 1)])
        best = counts.max(0) / max(int(sounds.sum()), 1)
        places.append(int(best.argmax()))
        shares.append(float(best.max()))
    return np.array(shares), np.array(places)


def shuffle_notes(grid: Tensor, rng: np.random.Generator) -> Tensor:
    """The notes of a piece (V, 2, T), with their lengths and rests, each voice's in another order."""
    shuffled = grid.clone()
    for voice, (pitch, begins) in enumerate(grid.numpy().astype(np.int64)):
        starts = np.flatnonzero((begins > 0) | (np.diff(pitch, prepend=-1) != 0))
        parts = np.split(grid[voice].numpy(), starts[1:], axis=1)
        mixed = np.concatenate([parts[i] for i in rng.permutation(len(parts))], axis=1)
        shuffled[voice] = shuffled.new_tensor(mixed)
    return shuffled


def random_notes(grid: Tensor, rng: np.random.Generator) -> Tensor:
    """A piece (V, 2, T) in the same rhythm, every note drawn from all between its voice's lowest and highest."""
    made = grid.clone()
    for voice, (pitch, begins) in enumerate(grid.numpy().astype(np.int64)):
        if not (pitch > 0).any():
            continue
        number = np.cumsum((begins > 0) | (np.diff(pitch, prepend=-1) != 0))
        drawn = rng.integers(pitch[pitch > 0].min(), pitch.max() + 1, number.max() + 1)
        made[voice, 0] = made.new_tensor(np.where(pitch > 0, drawn[number], 0))
    return made
