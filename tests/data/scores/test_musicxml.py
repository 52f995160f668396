"""MusicXML as programs write it: parts, voices, chords, ties, upbeats; packed, damaged, and too clever."""

from __future__ import annotations

import random
import zipfile

import pytest

from synesthete.data.scores.score import Note
from synesthete.data.scores.sources import read_musicxml
from synesthete.types import InputError

DOCTYPE = '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 3.0 Partwise//EN" "http://example.org/none.dtd">'
ATTRIBUTES = (
    "<attributes><divisions>2</divisions><key><fifths>-1</fifths><mode>minor</mode></key>"
    "<time><beats>3</beats><beat-type>4</beat-type></time></attributes><sound tempo='90'/>"
)


def note(step, octave, duration, *more, alter=0):
    pitch = f"<pitch><step>{step}</step><alter>{alter}</alter><octave>{octave}</octave></pitch>"
    return f"<note>{''.join(more)}{pitch}<duration>{duration}</duration></note>"


def score(*parts: str) -> str:
    told = "".join(f"<part id='P{i}'>{part}</part>" for i, part in enumerate(parts))
    title = "<work><work-title>Song</work-title></work>"
    return f"<?xml version='1.0'?>{DOCTYPE}<score-partwise>{title}{told}</score-partwise>"


def measures(*contents: str) -> str:
    return "".join(f"<measure>{content}</measure>" for content in contents)


UPPER = measures(
    ATTRIBUTES + note("C", 5, 2),
    note("F", 4, 2, alter=1)
    + note("A", 4, 2, "<chord/>")
    + note("B", 4, 4, '<tie type="start"/>', alter=-1)
    + "<backup><duration>6</duration></backup><forward><duration>2</duration></forward>"
    + note("D", 4, 4, "<voice>2</voice>"),
    note("B", 4, 3, '<tie type="stop"/>', alter=-1)
    + "<note><rest/><duration>1</duration></note>"
    + note("C", 5, 0, "<grace/>")
    + note("G", 4, 2),
)
LOWER = measures(ATTRIBUTES + note("C", 3, 2), note("F", 3, 6), note("G", 3, 6))
WANTED = [
    Note(72, 0, 1), Note(66, 1, 1), Note(69, 1, 1), Note(70, 2, 3.5), Note(67, 6, 1),
    Note(62, 2, 2, voice=1),
    Note(48, 0, 1, voice=2), Note(53, 1, 3, voice=2), Note(55, 4, 3, voice=2),
]  # fmt: skip


def test_a_score_is_read(tmp_path):
    (tmp_path / "a.musicxml").write_text(score(UPPER, LOWER))
    found = read_musicxml(tmp_path / "a.musicxml")
    assert sorted(found.notes, key=lambda n: (n.voice, n.start, n.pitch)) == WANTED
    assert (found.beats_per_bar, found.upbeat, found.key, found.title) == (3, 1, (2, "minor"), "Song")
    assert found.tempos == ((0.0, 90.0),)


def test_a_packed_score_is_the_same(tmp_path):
    (tmp_path / "a.xml").write_text(score(UPPER, LOWER))
    with zipfile.ZipFile(tmp_path / "a.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.write(tmp_path / "a.xml", "score.xml")
    assert read_musicxml(tmp_path / "a.mxl") == read_musicxml(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not MusicXML, or damaged"),
        ("RIFF....WAVE", "not MusicXML, or damaged"),
        ("PK\x03\x04....", "not MusicXML, or damaged"),
        (score(UPPER)[:-300], "not MusicXML, or damaged"),
        ("<html></html>", "a html, not a score-partwise"),
        (score(measures("<note><rest/><duration>4</duration></note>")), "0 notes"),
        (score(measures(note("H", 4, 2))), "not such as MusicXML holds"),
        (score(measures(note("C", "x", 2))), "not such as MusicXML holds"),
        (score(measures(note("C", 4, "nan"))), "0 notes"),
        (score(measures(note("C", 4, "1e300"))), "a note from"),
        (score(measures(note("C", 40, 2))), "a note of pitch"),
        (score(measures(f"{ATTRIBUTES.replace('<divisions>2', '<divisions>0')}")), "0 divisions"),
        (score(measures(ATTRIBUTES.replace("'90'", "'0'") + note("C", 4, 2))), "a tempo of 0"),
        ('<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>', "declares entities"),
    ],
)
def test_what_cannot_be_used_is_named_in_a_line(content, said, tmp_path):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError, match=rf"a\.xml: .*{said}") as caught:
        read_musicxml(tmp_path / "a.xml")
    assert "\n" not in str(caught.value)


def test_a_small_zip_of_a_large_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", " " * 21_000_000)
    with pytest.raises(InputError, match="larger than 20 MB unpacked"):
        read_musicxml(tmp_path / "a.mxl")


def test_a_packed_score_damaged_anywhere_is_read_or_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", score(UPPER, LOWER))
    whole, rng, refused = (tmp_path / "whole.mxl").read_bytes(), random.Random(0), 0
    for _ in range(200):
        changed = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        (tmp_path / "a.mxl").write_bytes(changed)
        try:
            assert read_musicxml(tmp_path / "a.mxl").notes
        except InputError:
            refused += 1
    assert refused > 100
