"""Standard MIDI files: read into scores whatever wrote them, and written with a track a voice."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from synesthete.data.files import legible
from synesthete.data.scores.score import MAX_NOTES, Mode, Note, Score
from synesthete.io import write_file
from synesthete.types import InputError

logger = logging.getLogger(__name__)

MAX_BYTES = 4_000_000
TICKS = 480  # a quarter note, as they are written
PERCUSSION = 9  # channel 10, counted from 0
TEMPO, METRE, KEY, NAME, TRACK_END = 0x51, 0x58, 0x59, 0x03, 0x2F  # kinds of meta events
META, SYSEX = 0xFF, (0xF0, 0xF7)
DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # of a channel's events, by their upper half
NOTE_OFF, NOTE_ON = 0x8, 0x9
CUT_SHORT = "cut short or damaged; export it again"


@dataclass
class _Contents:
    """What the tracks of a file hold, times in ticks."""

    # pitch, start, end, loudness, voice
    notes: list[tuple[int, int, int, int, tuple[int, int]]] = field(default_factory=list)
    tempos: dict[int, float] = field(default_factory=dict)
    metres: dict[int, float] = field(default_factory=dict)
    key: tuple[int, Mode] | None = None
    title: str = ""
    num_percussion: int = 0


def read_midi(path: Path | str) -> Score:
    """The notes of a MIDI file; each channel of a track is a voice, in their order.

    Percussion (channel 10) is left out, which is logged. Where a pitch is struck again the note before ends, and notes
    that nothing ends are held to the end of their track. Tempo changes are kept; the first metre and key count.
    """
    path = Path(path)
    name = legible(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}: larger than {MAX_BYTES / 1e6:g} MB; no score is, give another file")
    if content[:4] != b"MThd":
        raise InputError(f"{name}: not a MIDI file (it does not begin with MThd); give .mid or .midi")
    try:
        return _score(content, name)
    except (struct.error, IndexError):
        raise InputError(f"{name}: {CUT_SHORT}") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _score(content: bytes, name: str) -> Score:
    length, kind, num_tracks, division = struct.unpack(">IHHh", content[4:14])
    if kind > 1 or division <= 0:
        raise InputError("a MIDI file of separate patterns, or in frames of film; export it as one of format 0 or 1")
    contents, place, number = _Contents(), 8 + length, 0
    while place + 8 <= len(content) and number < num_tracks:
        tag, length = struct.unpack(">4sI", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        if len(body) < length:
            raise InputError(CUT_SHORT)
        if tag == b"MTrk":
            _read_track(body, number, contents)
            number += 1
        place += 8 + length
    if number < num_tracks:
        raise InputError(CUT_SHORT)
    if contents.num_percussion:
        logger.warning("%s: %d notes of percussion (channel 10) left out", name, contents.num_percussion)
    if not contents.notes:
        what = "percussion (channel 10) alone" if contents.num_percussion else "0 notes"
        raise InputError(f"{what}; give a file with notes")
    voices = {voice: number for number, voice in enumerate(sorted({voice for *_, voice in contents.notes}))}
    notes = [
        Note(pitch, start / division, (end - start) / division, velocity, voices[voice])
        for pitch, start, end, velocity, voice in contents.notes
    ]
    bar, upbeat = _bars({tick / division: quarters for tick, quarters in contents.metres.items()})
    tempos = [(0.0, 120.0)]  # what holds where nothing is said
    for tick, tempo in sorted(contents.tempos.items()):
        if tick == 0:
            tempos = [(0.0, tempo)]
        elif tempo != tempos[-1][1]:
            tempos.append((tick / division, tempo))
    return Score(tuple(notes), tuple(tempos), bar, upbeat, contents.key, contents.title)


def _bars(metres: dict[float, float]) -> tuple[float, float]:
    """Quarter notes a bar, and before the first whole one: an upbeat is written as a first, shorter bar."""
    starts = sorted(metres)
    if not starts or starts[0] > 0:
        return 4.0, 0.0
    first = metres[0.0]
    if len(starts) > 1 and starts[1] == first < metres[starts[1]]:
        return metres[starts[1]], first
    return first, 0.0


def _read_track(body: bytes, number: int, contents: _Contents) -> None:
    """Add what a track holds."""
    sounding: dict[tuple[int, int], tuple[int, int]] = {}  # channel, pitch -> tick, velocity
    struck_again: dict[tuple[int, int], int] = {}
    tick = 0

    def end_note(key: tuple[int, int]) -> None:
        start, velocity = sounding.pop(key)
        if tick > start:
            contents.notes.append((key[1], start, tick, velocity, (number, key[0])))
            if len(contents.notes) > MAX_NOTES:
                raise InputError(f"more than {MAX_NOTES:,} notes; give a shorter piece")

    for tick, status, data in _events(body):
        kind, key = status >> 4, (status & 0x0F, data[0] if data else 0)
        if status == META:
            _read_meta(data[0], data[1:], tick, number, contents)
        elif kind == NOTE_ON and data[1]:
            if key[0] == PERCUSSION:
                contents.num_percussion += 1
                continue
            if key in sounding:
                end_note(key)
                struck_again[key] = tick
            sounding[key] = tick, data[1]
        elif kind in (NOTE_ON, NOTE_OFF) and key in sounding and struck_again.pop(key, -1) != tick:
            # Else it ends the note before, which some programs write after the one that follows.
            end_note(key)
    for key in list(sounding):
        end_note(key)


def _events(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(tick, status, data) of a track's events; a meta event's data begin with its kind. IndexError where it is cut."""
    place = tick = status = 0
    while place < len(body):
        delta, place = _variable(body, place)
        tick += delta
        if body[place] & 0x80:
            status, place = body[place], place + 1
        elif status < 0x80:
            raise InputError(CUT_SHORT)
        if status == META or status in SYSEX:
            first = place
            length, place = _variable(body, place + (status == META))
            data = body[first : first + (status == META)] + body[place : place + length]
            place += length
            if place > len(body):
                raise InputError(CUT_SHORT)
            yield tick, status, data
            if status == META and data[0] == TRACK_END:
                return
            status = 0  # a running status does not outlast these
        elif status >= 0xF0:
            raise InputError(CUT_SHORT)
        else:
            length = DATA_BYTES[status >> 4]
            data = body[place : place + length]
            if len(data) < length or max(data) > 127:
                raise InputError(CUT_SHORT)
            yield tick, status, data
            place += length


def _variable(body: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, four bytes at most, and where it ends."""
    value = 0
    for _ in range(4):
        byte = body[place]
        value, place = value << 7 | byte & 0x7F, place + 1
        if byte < 0x80:
            return value, place
    raise InputError(CUT_SHORT)


def _read_meta(kind: int, data: bytes, tick: int, track: int, contents: _Contents) -> None:
    if kind == TEMPO and len(data) == 3:
        contents.tempos[tick] = round(60e6 / max(int.from_bytes(data, "big"), 1), 3)  # which microseconds cannot tell
    elif kind == METRE and len(data) >= 2 and data[0] and data[1] < 8:
        contents.metres[tick] = data[0] * 4 / 2 ** data[1]
    elif kind == KEY and len(data) == 2 and contents.key is None:
        (sharps,) = struct.unpack("b", data[:1])
        contents.key = ((7 * sharps + (9 if data[1] else 0)) % 12, "minor" if data[1] else "major")
    elif kind == NAME and track == 0 and not contents.title:
        contents.title = legible(data.decode("utf-8", errors="replace").strip("\0 \n"))


def write_midi(score: Score, path: Path | str) -> None:
    """A MIDI file of format 1: tempos, metre and key in a track of their own, then a track a voice.

    Times are rounded to 480ths of a quarter note.
    """
    told: list[tuple[int, bytes]] = [(0, _meta(NAME, score.title.encode()[:127]))]
    if score.upbeat:
        told.append((0, _metre(score.upbeat)))
    told.append((_ticks(score.upbeat), _metre(score.beats_per_bar)))
    if score.key is not None:
        tonic, mode = score.key
        sharps = (7 * (tonic - (9 if mode == "minor" else 0)) + 5) % 12 - 5  # -5 to 6
        told.append((0, _meta(KEY, struct.pack("bB", sharps, mode == "minor"))))
    for start, tempo in score.tempos:
        told.append((_ticks(start), _meta(TEMPO, min(round(60e6 / tempo), 2**24 - 1).to_bytes(3, "big"))))
    voices: dict[int, list[tuple[int, int, bytes]]] = {}
    for note in score.notes:
        channel = note.voice % 15 + (note.voice % 15 >= PERCUSSION)
        start, end = _ticks(note.start), max(_ticks(note.end), _ticks(note.start) + 1)
        events = voices.setdefault(note.voice, [])
        events.append((start, 1, bytes([NOTE_ON << 4 | channel, note.pitch, note.velocity])))
        events.append((end, 0, bytes([NOTE_OFF << 4 | channel, note.pitch, 0])))
    tracks = [sorted(told, key=lambda event: event[0])]
    tracks += [[(tick, event) for tick, _, event in sorted(voices[voice])] for voice in sorted(voices)]
    header = struct.pack(">4sIHHH", b"MThd", 6, 1, len(tracks), TICKS)
    write_file(Path(path), header + b"".join(map(_track, tracks)))


def _ticks(quarters: float) -> int:
    return round(quarters * TICKS)


def _track(events: list[tuple[int, bytes]]) -> bytes:
    body, now = b"", 0
    for tick, event in [*events, (events[-1][0], _meta(TRACK_END, b""))]:
        body += _number(tick - now) + event
        now = tick
    return struct.pack(">4sI", b"MTrk", len(body)) + body


def _meta(kind: int, data: bytes) -> bytes:
    return bytes([META, kind, len(data)]) + data


def _metre(quarters: float) -> bytes:
    """In the largest beats that divide it, quarter notes at most."""
    power = next((power for power in (2, 3, 4, 5, 6) if (quarters * 2**power / 4).is_integer()), 6)
    return _meta(METRE, bytes([min(max(round(quarters * 2**power / 4), 1), 255), power, 24, 8]))


def _number(value: int) -> bytes:
    """Seven bits a byte, the last without the upper bit."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))
