"""A score: notes in quarter notes, how fast, in which key; the roll of those that sound, and a grid of sixteenths."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from synesthete.types import InputError

__all__ = ["Note", "Score", "to_grid", "to_score"]

Mode = Literal["major", "minor"]

NUM_PITCHES = 128  # of MIDI; 60 is middle C
MAX_NOTES = 20_000
MAX_LENGTH = 20_000  # quarter notes: nearly three hours at 120 a minute
MIN_TEMPO, MAX_TEMPO = 1.0, 1000.0  # quarter notes a minute


@dataclass(frozen=True)
class Note:
    """pitch: 0 to 127, 60 is middle C. start, duration: in quarter notes. velocity: 1 to 127. voice: whose."""

    pitch: int
    start: float
    duration: float
    velocity: int = 80
    voice: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.pitch < NUM_PITCHES and 1 <= self.velocity < NUM_PITCHES and self.voice >= 0):
            raise InputError(
                f"a note of pitch {self.pitch}, velocity {self.velocity}, voice {self.voice}; MIDI has none"
            )
        if not (0 <= self.start <= MAX_LENGTH and 0 < self.duration <= MAX_LENGTH):  # nor NaN
            raise InputError(
                f"a note from {self.start} on of {self.duration} quarter notes; 0 to {MAX_LENGTH:,} can be"
            )

    @property
    def end(self) -> float:
        """In quarter notes."""
        return self.start + self.duration


@dataclass(frozen=True)
class Score:
    """Notes, in the order of their starts, and all that is told about them.

    tempos: (from which quarter note on, quarter notes a minute), the first from 0. beats_per_bar: quarter notes a bar.
    upbeat: quarter notes before the first whole bar. key: (tonic, mode), 0 is C.

    Raises:
        InputError: a tempo, bar or key that cannot be.
    """

    notes: tuple[Note, ...]
    tempos: tuple[tuple[float, float], ...] = ((0.0, 120.0),)
    beats_per_bar: float = 4.0
    upbeat: float = 0.0
    key: tuple[int, Mode] | None = None
    title: str = ""

    def __post_init__(self) -> None:
        ordered = sorted(self.notes, key=lambda note: (note.start, note.voice, note.pitch))
        object.__setattr__(self, "notes", tuple(ordered))
        starts = [start for start, _ in self.tempos]
        if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise InputError(f"tempos from the quarter notes {starts} on; the first is from 0, each later one later")
        if wrong := [tempo for _, tempo in self.tempos if not MIN_TEMPO <= tempo <= MAX_TEMPO]:
            raise InputError(f"a tempo of {wrong[0]:g} quarter notes a minute; {MIN_TEMPO:g} to {MAX_TEMPO:g} can be")
        if not 0 <= self.upbeat < self.beats_per_bar <= MAX_LENGTH:
            raise InputError(
                f"an upbeat of {self.upbeat} in bars of {self.beats_per_bar} quarter notes; make it shorter"
            )
        if self.key is not None and not (0 <= self.key[0] < 12 and self.key[1] in ("major", "minor")):
            raise InputError(f"a key of {self.key}; its tonic is 0 (C) to 11 (B), its mode major or minor")

    @cached_property
    def length(self) -> float:
        """Quarter notes until the last note ends; 0 without notes."""
        return max((note.end for note in self.notes), default=0.0)

    @cached_property
    def _passed(self) -> tuple[float, ...]:
        """Seconds until each tempo begins."""
        passed = [0.0]
        for (start, tempo), (end, _) in pairwise(self.tempos):
            passed.append(passed[-1] + (end - start) * 60 / tempo)
        return tuple(passed)

    def seconds(self, quarter: float) -> float:
        """When a quarter note is played, in seconds."""
        place = max(bisect_right(self.tempos, (quarter, math.inf)) - 1, 0)
        start, tempo = self.tempos[place]
        return self._passed[place] + (quarter - start) * 60 / tempo

    def transposed(self, semitones: int) -> Score:
        """The same so much higher, its key too.

        Raises:
            InputError: a note would leave the pitches of MIDI.
        """
        key = self.key and ((self.key[0] + semitones) % 12, self.key[1])
        return replace(self, notes=tuple(replace(n, pitch=n.pitch + semitones) for n in self.notes), key=key)

    def at_tempo(self, tempo: float) -> Score:
        """The same at one tempo throughout, in quarter notes a minute."""
        return replace(self, tempos=((0.0, float(tempo)),))

    def frames(self, num_frames: int, frame_seconds: float, start: float = 0.0) -> Tensor:
        """(2, 128, T) float32: which pitches sound in a frame, and which begin in it, 0 or 1; a row is a MIDI pitch.

        Frame t is centred on second `start` + t * `frame_seconds`, as those of a short-time Fourier transform are. A
        note sounds in one frame at least; one that began before the first is not said to begin.
        """
        roll = torch.zeros(2, NUM_PITCHES, num_frames)
        for note in self.notes:
            first = round((self.seconds(note.start) - start) / frame_seconds)
            last = max(round((self.seconds(note.end) - start) / frame_seconds), first + 1)
            if first < num_frames and last > 0:
                roll[0, note.pitch, max(first, 0) : last] = 1
                if first >= 0:
                    roll[1, note.pitch, first] = 1
        return roll


def begun_at_first_note(score: Score) -> Score:
    """The same without the rests of its first bar, which is then an upbeat; rests of whole bars stay."""
    first = min((note.start for note in score.notes), default=0.0)
    if score.upbeat or not 0 < first < score.beats_per_bar:
        return score
    notes = tuple(replace(note, start=note.start - first) for note in score.notes)
    return replace(score, notes=notes, upbeat=score.beats_per_bar - first)


COLUMNS = 4  # of a quarter note
BAR = 4 * COLUMNS
CHORDS = 0.05  # share of a voice's notes that may begin while another sounds; more are chords
LEGATO = 0.25  # quarter notes by which a note may sound into the next
TEMPO = 84.0  # quarter notes a minute at which a score is played that was never told one


def to_grid(score: Score, num_voices: int = 4) -> Tensor:
    """(V, 2, T) uint8, the highest voice first: the pitch of each column (0: rest), and 1 where a note begins.

    Column 0 begins a bar: an upbeat stands at the end of a first bar that rests else. T is whole bars.

    Raises:
        InputError: another number of voices, chords in one, or bars of other than four quarter notes.
    """
    if score.beats_per_bar != 4:
        raise InputError("not in bars of 4 quarter notes")
    voices: dict[int, list[Note]] = {}
    for note in score.notes:
        voices.setdefault(note.voice, []).append(note)
    if len(voices) != num_voices:
        raise InputError(f"not of {num_voices} voices")
    lead = BAR - round(score.upbeat * COLUMNS) if score.upbeat else 0
    num_columns = BAR * max(1, math.ceil((lead + round(score.length * COLUMNS)) / BAR))
    grid = torch.zeros(num_voices, 2, num_columns, dtype=torch.uint8)
    ordered = sorted(voices.values(), key=lambda notes: -sum(note.pitch for note in notes) / len(notes))
    for row, notes in zip(grid, ordered, strict=True):
        overlapping = sum(a.end > b.start + LEGATO for a, b in pairwise(notes))
        if overlapping > CHORDS * len(notes):
            raise InputError("chords in one voice")
        for note in notes:
            first = lead + round(note.start * COLUMNS)
            last = max(lead + round(note.end * COLUMNS), first + 1)
            row[:, first:] = 0  # the note before ends
            row[0, first:last] = note.pitch
            row[1, first] = 1
    return grid


def to_score(grid: Tensor, key: tuple[int, Mode] | None = None, tempo: float = TEMPO, title: str = "") -> Score:
    """(V, 2, T) as `to_grid` has it -> the score; what sounds in column 0 begins there, whatever it says."""
    notes = []
    for voice, (pitches, begins) in enumerate(grid.tolist()):
        starts = [
            column
            for column, (pitch, new) in enumerate(zip(pitches, begins, strict=True))
            if pitch and (new or column == 0 or pitches[column - 1] != pitch)
        ]
        for start in starts:
            end = start + 1
            while end < len(pitches) and pitches[end] == pitches[start] and not begins[end]:
                end += 1
            notes.append(Note(pitches[start], start / COLUMNS, (end - start) / COLUMNS, voice=voice))
    return Score(tuple(notes), ((0.0, tempo),), key=key, title=title)


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
    """What a key's name says, such as "D minor", "bb", or "F# major"; major where no mode is named."""
    found = re.fullmatch(r"\s*([a-g])([#b]?)\s*(major|minor|)\s*", text, re.IGNORECASE)
    if found is None:
        raise InputError(f"key {text!r}: no such key; give a tonic and major or minor, such as 'D minor' or 'Bb major'")
    tonic = TONICS.index(found[1].upper()) + {"": 0, "#": 1, "b": -1}[found[2].lower()]
    return tonic % 12, "minor" if found[3].lower() == "minor" else "major"
