"""MIDI files written, read back, damaged, and as other programs write them."""

from __future__ import annotations

import logging
import random
import struct

import pytest

from synesthete.data.scores.midi import read_midi, write_midi
from synesthete.data.scores.score import Note, Score
from synesthete.types import InputError

CHORDS = Score(
    tuple(
        Note(pitch + step, 1.5 * place, 1.0 if place % 2 else 1.5, 60 + place, voice)
        for place, step in enumerate((0, 0, 5, 7, 0))
        for voice, pitch in enumerate((72, 67, 64, 48))
    ),
    tempos=((0.0, 90.0), (3.0, 60.0)),
    beats_per_bar=3.0,
    upbeat=1.5,
    key=(7, "major"),
    title="Fünf Klänge",
)


def midi(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    header = struct.pack(">4sIHHh", b"MThd", 6, kind, len(tracks), division)
    return header + b"".join(struct.pack(">4sI", b"MTrk", len(track)) + track for track in tracks)


def read(content: bytes, tmp_path) -> Score:
    (tmp_path / "a.mid").write_bytes(content)
    return read_midi(tmp_path / "a.mid")


def test_what_is_written_is_read_back(tmp_path):
    write_midi(CHORDS, tmp_path / "new" / "a.mid")
    assert read_midi(tmp_path / "new" / "a.mid") == CHORDS


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_every_key_is_read_back(tonic, mode, tmp_path):
    score = Score((Note(60, 0, 1),), key=(tonic, mode))
    write_midi(score, tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid") == score


def test_another_reader_finds_the_same_notes(tmp_path):
    mido = pytest.importorskip("mido")
    write_midi(CHORDS, tmp_path / "a.mid")
    file = mido.MidiFile(tmp_path / "a.mid")
    assert file.length == pytest.approx(CHORDS.seconds(CHORDS.length))
    struck = [message for message in file if message.type == "note_on"]
    assert [m.note for m in struck] == [note.pitch for note in CHORDS.notes]


def test_running_status_and_notes_ended_by_a_loudness_of_nothing(tmp_path):
    track = b"\x00\x90\x3c\x40\x83\x60\x3c\x00\x00\x3e\x40\x83\x60\x3e\x00\x00\xff\x2f\x00"
    score = read(midi(track, kind=0), tmp_path)
    assert [(n.pitch, n.start, n.duration, n.velocity) for n in score.notes] == [(60, 0, 1, 64), (62, 1, 1, 64)]


def test_a_pitch_struck_again_ends_the_note_before_and_what_nothing_ends_is_held(tmp_path):
    track = b"\x00\x90\x3c\x40\x83\x60\x90\x3c\x50\x00\x80\x3c\x00\x83\x60\xff\x2f\x00"
    score = read(midi(track), tmp_path)
    assert [(n.start, n.duration, n.velocity) for n in score.notes] == [(0, 1, 64), (1, 1, 80)]


def test_percussion_is_left_out_and_said(tmp_path, caplog):
    track = b"\x00\x99\x24\x40\x00\x90\x3c\x40\x60\x80\x3c\x00\x00\x89\x24\x00\x00\xff\x2f\x00"
    with caplog.at_level(logging.WARNING):
        assert [note.pitch for note in read(midi(track), tmp_path).notes] == [60]
    assert "1 notes of percussion" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"RIFF\x00\x00\x00\x00WAVE", "not a MIDI file"),
        (b"", "not a MIDI file"),
        (midi(b"\x00\xff\x2f\x00"), "0 notes"),
        (midi(b"\x00\x99\x24\x40\x60\x89\x24\x00"), "percussion \\(channel 10\\) alone"),
        (midi(b"\x00\x90\x3c\x40\x60\x80\x3c"), "cut short or damaged"),
        (midi(b"\x00\x3c\x40"), "cut short or damaged"),
        (midi(b"\x00\x90\x3c\x40", division=-7400), "frames of film"),
        (midi(b"", kind=2), "separate patterns"),
        (midi(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x00", division=1), "quarter notes"),
        (midi(b"\x00\x90\x3c\x40" + b"\x01\x3c\x40" * 20_100), "more than 20,000 notes"),
        (b"MThd" + bytes(4_000_000), "larger than 4 MB"),
    ],
)
def test_what_cannot_be_used_is_named_in_a_line(content, said, tmp_path):
    with pytest.raises(InputError, match=f"a.mid: .*{said}") as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"b\.mid: cannot be read"):
        read_midi(tmp_path / "b.mid")


def test_a_file_cut_or_changed_anywhere_is_read_or_refused(tmp_path):
    write_midi(CHORDS, tmp_path / "whole.mid")
    whole, rng = (tmp_path / "whole.mid").read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(4)):
            if changed:
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            assert read(bytes(changed), tmp_path).notes
        except InputError:
            refused += 1
    assert 150 < refused < 300
