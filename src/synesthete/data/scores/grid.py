"""Scores of a few voices on a grid of sixteenth notes, whole bars long, and back."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from synesthete.data.scores.score import Mode, Note, Score
from synesthete.types import InputError

__all__ = ["to_grid", "to_score"]

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
