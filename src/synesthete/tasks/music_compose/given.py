"""Scores that are to be gone on from, mended or harmonised, as the notes of a model's voices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.data.files import legible
from synesthete.data.scores.corpus import RANGES
from synesthete.data.scores.score import BAR, COLUMNS, find_key, to_grid
from synesthete.data.scores.sources import MIDI, MUSICXML, ScoreFile
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.scores.score import Mode, Note, Score

VOICES = ("soprano", "alto", "tenor", "bass")
OFF_GRID = 0.02  # of a column, by which a note may be off it unsaid


@dataclass(frozen=True)
class Given:
    """What there is of a piece.

    grid: (V, 2, T) uint8, whole bars. sung: (V,) which voices are there. length: columns until the last note ends.
    key: that it is in. tempo: quarter notes a minute at its beginning. notes: what was done to it, for people.
    """

    grid: Tensor
    sung: Tensor
    length: int
    key: tuple[int, Mode]
    tempo: float
    notes: tuple[str, ...]

    @property
    def num_bars(self) -> int:
        """Whole bars, an upbeat in one of its own."""
        return self.grid.shape[-1] // BAR


def voice_names(num_voices: int) -> tuple[str, ...]:
    """What the voices are called, the highest first."""
    return VOICES if num_voices == len(VOICES) else tuple(str(1 + voice) for voice in range(num_voices))


def read_given(path: Path, lowest: int, num_pitches: int, num_voices: int, melody: int, *, alone: bool) -> Given:
    """A MIDI or MusicXML file as voices of a model: all of them, or a melody that its voice `melody` sings.

    alone: the melody is wanted and nothing else: of a score of all voices the one of that place, of any other its
    highest notes. What is beyond a voice's range is moved by octaves, or as little as need be.
    """
    name = legible(str(path))
    if not path.is_file():
        raise InputError(f"{name}: no such file; give a MIDI or MusicXML file")
    if path.suffix.lower() not in (*MIDI, *MUSICXML):
        raise InputError(f"{name}: no score; give a MIDI or MusicXML file ({', '.join((*MIDI, *MUSICXML))})")
    score = ScoreFile(str(path)).read()
    notes: list[str] = []
    try:
        grid, places, wanted = _voices(score, num_voices, melody, notes, alone=alone)
        if (found := int((grid[:, 1] > 0).sum())) < wanted:
            notes.append(f"{wanted - found} of {wanted} notes left out: another begins in the same sixteenth note")
        shift = _shift(grid, places, (lowest, lowest + num_pitches - 1), num_voices)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    off = sum(any(abs(at * COLUMNS - round(at * COLUMNS)) > OFF_GRID for at in (n.start, n.end)) for n in score.notes)
    if off:
        notes.append(f"{off} of {len(score.notes)} notes moved to the nearest sixteenth note")
    tonic, mode = find_key(score)
    if shift:
        notes.append(f"moved {abs(shift)} semitones {'up' if shift > 0 else 'down'}, to where its voices sing")
        grid[:, 0] = torch.where(grid[:, 0] > 0, grid[:, 0].long() + shift, 0).to(grid)
    whole = torch.zeros(num_voices, 2, grid.shape[-1], dtype=grid.dtype)
    whole[places] = grid
    sung = torch.zeros(num_voices, dtype=torch.bool)
    sung[places] = True
    length = 1 + int((grid[:, 0] > 0).any(0).nonzero().max())
    told = tuple(f"{name}: {note}" for note in notes)
    return Given(whole, sung, length, ((tonic + shift) % 12, mode), score.tempos[0][1], told)


def _voices(
    score: Score, num_voices: int, melody: int, notes: list[str], *, alone: bool
) -> tuple[Tensor, list[int], int]:
    """(v, 2, T), the places of its voices among the model's, and how many notes there are of them in the score."""
    num = len({note.voice for note in score.notes})
    try:
        if num in (1, num_voices):
            grid = to_grid(score, num)
            if num == 1:
                return grid, [melody], len(score.notes)
            if not alone:
                return grid, [*range(num_voices)], len(score.notes)
            return grid[melody : melody + 1], [melody], 0
    except InputError:
        if score.beats_per_bar != 4 or not alone:
            raise
    if not alone:
        raise InputError(f"a score of {num} voices; give one of {num_voices}, or a melody")
    highest = _highest(score)
    notes.append(f"of its {len(score.notes)} notes the {len(highest.notes)} highest are the melody")
    return to_grid(highest, 1), [melody], len(highest.notes)


def _highest(score: Score) -> Score:
    """The highest note that begins at a time, unless a higher one is still heard; each ends where the next begins."""
    chosen: list[Note] = []
    for note in sorted(score.notes, key=lambda note: (note.start, -note.pitch)):
        last = chosen[-1] if chosen else None
        if last is not None and last.end > note.start + 1 / COLUMNS / 2:
            if note.pitch < last.pitch or note.start - last.start < 1 / COLUMNS / 2:
                continue
            chosen[-1] = replace(last, duration=note.start - last.start)
        chosen.append(replace(note, voice=0))
    return replace(score, notes=tuple(chosen))


def _shift(grid: Tensor, places: list[int], rows: tuple[int, int], num_voices: int) -> int:
    """By how many semitones the voices (v, 2, T) are moved to be where they sing, or at least have rows."""
    own = [RANGES[place] if num_voices == len(RANGES) else rows for place in places]
    for ranges in (own, [rows] * len(places)):
        low, high = -128, 128
        for (lowest, highest), voice in zip(ranges, grid[:, 0].long(), strict=True):
            if (sung := voice[voice > 0]).numel():
                low, high = max(low, lowest - int(sung.min())), min(high, highest - int(sung.max()))
        if low <= high:
            octaves = [shift for shift in range(-120, 121, 12) if low <= shift <= high]
            return min(octaves, key=abs) if octaves else (low if low > 0 else high)
    sung = grid[:, 0][grid[:, 0] > 0]
    wide = f"pitches {int(sung.min())} to {int(sung.max())}"
    raise InputError(f"{wide}, too far apart for pitches {rows[0]} to {rows[1]}; give another score")
