"""Scores for the campaign of damaged inputs: MIDI and MusicXML, and the door that they come in by."""

from __future__ import annotations

import contextlib
import io
import zipfile
from typing import TYPE_CHECKING

from benchmarks.campaigns.mutations import ODD, damaged
from synesthete.data.scores.midi import write_midi
from synesthete.data.scores.score import Note, Score
from synesthete.tasks.music_compose.given import read_given
from synesthete.types import InputError

if TYPE_CHECKING:
    import random
    from pathlib import Path


def write_midi_file(chance: random.Random, folder: Path) -> Path:
    """A few notes of some voices as MIDI, damaged."""
    tempos = tuple((float(start), chance.uniform(1, 1000)) for start in range(chance.randint(1, 3)))
    metre = chance.choice((2.0, 3.0, 4.0, 4.0, 4.0, 6.0))
    score = Score(some_notes(chance), tempos, metre, upbeat=chance.choice((0.0, 0.0, 1.0)), key=(3, "minor"), title="é")
    write_midi(score, path := folder / "score.mid")
    content = path.read_bytes()
    path.write_bytes(content if chance.random() < 0.2 else damaged(content, chance))
    return path


def some_notes(chance: random.Random) -> tuple[Note, ...]:
    """Up to 40 notes of up to five voices, in a narrow range or any."""
    low, high = chance.choice(((60, 72), (0, 127)))
    return tuple(
        Note(chance.randint(low, high), chance.randint(0, 64) / 4, chance.choice((0.25, 1.0, 9.0)), voice=number % 5)
        for number in range(chance.randint(0, 40))
    )


def write_musicxml(chance: random.Random, folder: Path) -> Path:
    """A few notes as MusicXML, plain or packed, odd or damaged."""
    odd = [str(value) for value in ODD]
    notes = "".join(
        f"<note><pitch><step>{chance.choice('CDEFGAB')}</step><octave>{chance.randint(2, 6)}</octave></pitch>"
        f"<duration>{chance.choice(('1', '2', '4', chance.choice(odd)))}</duration><voice>1</voice></note>"
        for _ in range(chance.randint(0, 12))
    )
    told = "<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
    parts = "".join(
        f'<part id="P{number}"><measure number="1">{told}{notes}</measure></part>'
        for number in range(chance.choice((1, 4)))
    )
    content = f'<?xml version="1.0"?><score-partwise>{parts}</score-partwise>'.encode(errors="replace")
    content = content if chance.random() < 0.5 else damaged(content, chance)
    if chance.random() < 0.5:
        (folder / "score.musicxml").write_bytes(content)
        return folder / "score.musicxml"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.xml", content)
    whole = packed.getvalue()
    (folder / "score.mxl").write_bytes(whole if chance.random() < 0.5 else damaged(whole, chance))
    return folder / "score.mxl"


def read_score(path: Path) -> None:
    """The score whole, and as a melody to harmonise."""
    with contextlib.suppress(InputError):
        read_given(path, 34, 49, 4, 0, alone=False)
    read_given(path, 34, 49, 4, 0, alone=True)
