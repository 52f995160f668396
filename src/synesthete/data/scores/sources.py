"""Where scores come from: MIDI and MusicXML in a folder or in the music21 package, or chorales made up by rule."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Never
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import torch

from synesthete import seeding
from synesthete.config import is_a
from synesthete.data.files import SourceFile, legible, list_files
from synesthete.data.scores.midi import read_midi
from synesthete.data.scores.score import MAX_NOTES, Mode, Note, Score
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


MAX_BYTES = 20_000_000  # unpacked
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass
class _Told:
    """What the first part says of all."""

    tempos: dict[float, float] = field(default_factory=dict)
    bar: float | None = None
    upbeat: float = 0.0
    key: tuple[int, Mode] | None = None


def read_musicxml(path: Path | str) -> Score:
    """The notes of a part-wise MusicXML file as written, repeats not played; each voice of a part is a voice.

    Grace notes and percussion are left out. The first metre and key count; a first bar that is shorter is an upbeat.
    """
    path = Path(path)
    name = legible(str(path))
    try:
        return _score(_parse(_unpack(path)))
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); check the path") from None
    except (expat.ExpatError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{name}: not MusicXML, or damaged ({error}); export it again") from None
    except (ValueError, KeyError, AttributeError, TypeError, ZeroDivisionError, OverflowError) as error:
        reason = error if isinstance(error, InputError) else f"not such as MusicXML holds ({error}); export it again"
        raise InputError(f"{name}: {reason}") from None


def _unpack(path: Path) -> bytes:
    """The XML of a file, from the zip that it may be."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            scores = [n for n in archive.namelist() if n.endswith((".xml", ".musicxml")) and "META-INF" not in n]
            known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if not scores or archive.getinfo(scores[0]).compress_type not in known:
                raise InputError("a zip without a score in it; export it again")
            with archive.open(scores[0]) as packed:
                content = packed.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES / 1e6:g} MB unpacked; give another file")
    return content


def _parse(content: bytes) -> Element:
    """The root element; nothing is fetched, and no entity is declared, by which a small file could become a large."""
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> Never:
        raise InputError("declares entities of its own, which no score needs; export it again")

    parser.EntityDeclHandler = refuse
    parser.Parse(content, True)
    return builder.close()


def _score(root: Element) -> Score:
    if root.tag != "score-partwise":
        raise InputError(f"a {root.tag}, not a score-partwise; export it as part-wise MusicXML")
    told = _Told()
    notes: list[Note] = []
    voices: dict[tuple[int, str], int] = {}
    for number, part in enumerate(root.findall("part")):
        for voice, pitch, start, duration in _read_part(part, told, is_first=number == 0):
            if len(notes) == MAX_NOTES:
                raise InputError(f"more than {MAX_NOTES:,} notes; give a shorter piece")
            notes.append(Note(pitch, start, duration, voice=voices.setdefault((number, voice), len(voices))))
    if not notes:
        raise InputError("0 notes; give a file with notes")
    tempos = [(0.0, told.tempos.pop(0.0, 120.0)), *sorted(told.tempos.items())]
    title = root.findtext("movement-title") or root.findtext("work/work-title") or ""
    return Score(tuple(notes), tuple(tempos), told.bar or 4.0, told.upbeat, told.key, legible(title.strip()))


def _read_part(part: Element, told: _Told, *, is_first: bool) -> list[tuple[str, int, float, float]]:
    """(voice, pitch, start, duration) of the notes, in quarter notes."""
    found: list[tuple[str, int, float, float]] = []
    tied: dict[int, deque[int]] = {}  # pitch -> places in `found` of notes that go on
    divisions, begin = 1.0, 0.0
    for number, measure in enumerate(part.findall("measure")):
        now = furthest = latest = begin
        for element in measure:
            if element.tag == "attributes":
                divisions = float(element.findtext("divisions") or divisions)
                if not (divisions > 0 and math.isfinite(divisions)):
                    raise InputError(f"{divisions:g} divisions a quarter note; export it again")
                if is_first:
                    _read_attributes(element, told)
            elif element.tag in ("backup", "forward"):
                length = float(element.findtext("duration") or 0) / divisions
                now = max(now - length, begin) if element.tag == "backup" else now + length
            elif is_first and (sound := element if element.tag == "sound" else element.find("sound")) is not None:
                if tempo := sound.get("tempo"):
                    told.tempos[now] = float(tempo)
            elif element.tag == "note" and element.find("grace") is None:
                length = float(element.findtext("duration") or 0) / divisions
                start = latest if element.find("chord") is not None else now
                pitch = element.find("pitch")
                if pitch is not None and length > 0:
                    _add_note(found, tied, element, pitch, start, length)
                latest, now = start, max(now, start + length)
            furthest = max(furthest, now)
        if is_first and number == 0 and told.bar and furthest - begin < told.bar:
            told.upbeat = furthest - begin
        begin = furthest
    return found


def _add_note(
    found: list[tuple[str, int, float, float]],
    tied: dict[int, deque[int]],
    element: Element,
    pitch: Element,
    start: float,
    length: float,
) -> None:
    """A note, or the length of one that it is tied to."""
    alter = round(float(pitch.findtext("alter") or 0))
    number = 12 * (int(pitch.findtext("octave") or "") + 1) + STEPS[pitch.findtext("step") or ""] + alter
    ties = {tie.get("type") for tie in element.findall("tie")}
    place = len(found)
    going_on = tied.get(number)
    if "stop" in ties and going_on:
        place = going_on.popleft()
        voice, _, first, _ = found[place]
        found[place] = (voice, number, first, start + length - first)
    else:
        found.append((element.findtext("voice") or "1", number, start, length))
    if "start" in ties:
        tied.setdefault(number, deque()).append(place)


def _read_attributes(element: Element, told: _Told) -> None:
    beats, kind = element.findtext("time/beats"), element.findtext("time/beat-type")
    if told.bar is None and beats and kind:
        told.bar = sum(map(int, beats.split("+"))) * 4 / int(kind)
    fifths, mode = element.findtext("key/fifths"), element.findtext("key/mode")
    if told.key is None and fifths and mode in ("major", "minor"):
        minor = mode == "minor"
        told.key = ((7 * int(fifths) + (9 if minor else 0)) % 12, "minor" if minor else "major")
