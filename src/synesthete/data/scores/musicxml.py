"""MusicXML, plain or packed (.mxl): the notes of each part, ties joined, and what is said of metre, key and tempo."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from synesthete.data.files import legible
from synesthete.data.scores.score import MAX_NOTES, Mode, Note, Score
from synesthete.types import InputError

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
