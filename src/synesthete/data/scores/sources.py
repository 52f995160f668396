"""Where scores come from: a folder, Bach's chorales in the music21 package, or chorales made up by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch

from synesthete import seeding
from synesthete.config import is_a
from synesthete.data.files import SourceFile, list_files
from synesthete.data.scores.midi import read_midi
from synesthete.data.scores.musicxml import read_musicxml
from synesthete.data.scores.score import Note, Score
from synesthete.types import InputError

MIDI = (".mid", ".midi")
MUSICXML = (".mxl", ".musicxml", ".xml")
PACKAGE = "music21"

# What fields of a recipe can be set to: scores() lists entries, each with a name, a stamp() that is another whenever it
# has changed, and read() -> Score.
ScoreSources = tuple[Annotated[Any, is_a("source of scores", "scores")], ...]


class ScoreFile(SourceFile):
    """A MIDI or MusicXML file."""

    __slots__ = ()

    def read(self) -> Score:
        """By its suffix."""
        return read_midi(self.path) if self.path.lower().endswith(MIDI) else read_musicxml(self.path)


class ScoreFolder:
    """The MIDI and MusicXML files in a folder and below it.

    Args:
        path: the folder; None has to be set before it is read.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def scores(self) -> list[ScoreFile]:
        """In order of name; none is read.

        Raises:
            InputError: no folder, or none there.
        """
        if self.path is None:
            raise InputError("no scores; --set data.folder=FOLDER (MIDI, MusicXML)")
        return [ScoreFile(str(file)) for file in list_files(Path(self.path).expanduser(), (*MIDI, *MUSICXML))]


class BachChorales:
    """Bach's chorales, and what else of his the music21 package holds; its files are read, its code is not run."""

    def scores(self) -> list[ScoreFile]:
        """In order of name.

        Raises:
            InputError: the package is not installed, or without its corpus.
        """
        found = find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise InputError("music21 is not installed; pip install 'synesthete[scores]', or --set data.folder=FOLDER")
        folder = Path(found.origin).parent / "corpus" / "bach"
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; this music21 has no corpus, install another")
        return [ScoreFile(str(file)) for file in list_files(folder, MUSICXML)]


# Voices of a chord, from the tonic up, of which each sings the nearest to what it sang; the bass sings the root.
CHORDS: dict[str, tuple[int, ...]] = {"I": (0, 4, 7), "IV": (5, 9, 0), "V": (7, 11, 2), "vi": (9, 0, 4)}
AFTER = {"I": ("IV", "V", "vi"), "IV": ("V", "I"), "V": ("I", "vi"), "vi": ("IV", "V")}
CENTRES = (72, 65, 58, 48)  # pitches about which the voices sing, soprano to bass


@dataclass(frozen=True, slots=True)
class SyntheticChorale:
    """A chorale made by rule when it is read: the same each time."""

    number: int
    num_bars: int
    seed: int

    @property
    def name(self) -> str:
        """What it is."""
        return f"chorale {self.number}"

    def stamp(self) -> str:
        """All that decides it."""
        return f"{self.name} {self.num_bars} {self.seed}"

    def read(self) -> Score:
        """Its chords, a quarter or a half note each, the last a whole one on the tonic."""
        chance = seeding.generator(self.seed, "chorale", self.number)

        def drawn(num: int) -> int:
            return int(torch.randint(num, (), generator=chance))

        tonic, mode = drawn(12), ("major", "minor")[drawn(2)]
        upbeat, chord, now = float(drawn(2)), "I", 0.0
        end = upbeat + 4 * (self.num_bars - 1) - (4 - upbeat if upbeat else 0)
        sung, notes = list(CENTRES), []
        while now < end:
            length = 2.0 if drawn(4) == 0 and now + 2 <= end and (now - upbeat) % 2 == 0 else 1.0
            notes += self._sing(chord, tonic, mode, sung, now, length)
            chord = AFTER[chord][drawn(len(AFTER[chord]))] if now + length < end - 1 else "V"
            now += length
        notes += self._sing("I", tonic, mode, sung, now, 4.0)
        return Score(tuple(notes), ((0.0, 84.0),), upbeat=upbeat, key=(tonic, mode), title=self.name)  # type: ignore[arg-type]

    def _sing(self, chord: str, tonic: int, mode: str, sung: list[int], start: float, length: float) -> list[Note]:
        """A note of each voice: the bass the root, the others the nearest tones of the chord, each another first."""
        third = {4: 3, 9: 8} if mode == "minor" and chord != "V" else {}
        tones = [(third.get(tone, tone) + tonic) % 12 for tone in CHORDS[chord]]
        taken: set[int] = set()
        for voice in (3, 0, 1, 2):
            among = [tones[0]] if voice == 3 else [tone for tone in tones if tone not in taken] or tones
            sung[voice] = nearest_pitch(among, (2 * sung[voice] + CENTRES[voice]) / 3)
            taken |= set() if voice == 3 else {sung[voice] % 12}
        return [Note(pitch, start, length, voice=voice) for voice, pitch in enumerate(sung)]


class SyntheticChorales:
    """Four-part chorales made by rule, for tests and trials: chords of a key one after the other, a cadence at the end.

    Args:
        num: how many. num_bars: of each, at least and at most. seed: others with another.
    """

    def __init__(self, num: int = 24, num_bars: tuple[int, int] = (8, 12), seed: int = 0) -> None:
        if num < 1 or not 2 <= num_bars[0] <= num_bars[1]:
            raise InputError(f"{num} chorales of {num_bars[0]} to {num_bars[1]} bars; give one or more, of 2 bars up")
        self.num, self.num_bars, self.seed = num, num_bars, seed

    def scores(self) -> list[SyntheticChorale]:
        """In order of number."""
        low, high = self.num_bars
        return [SyntheticChorale(i, low + i % (high - low + 1), self.seed) for i in range(self.num)]


def nearest_pitch(pitch_classes: Sequence[int], wanted: float) -> int:
    """The pitch of one of the classes that is nearest to the one wanted."""
    return min((round((wanted - pc) / 12) * 12 + pc for pc in pitch_classes), key=lambda pitch: abs(pitch - wanted))
