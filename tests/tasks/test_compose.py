"""What is asked of a model that composes: what is held is held, in pieces of any length, and what cannot be is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from benchmarks import listening

import synesthete
from synesthete.data.scores.midi import read_midi, write_midi
from synesthete.data.scores.score import BAR, Note, Score, read_key, to_grid
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.recipes import find_recipe
from synesthete.tasks import prepare
from synesthete.tasks.music_compose.sampling import plan_windows
from synesthete.training import assembly
from synesthete.types import InputError
from tiny import awake

if TYPE_CHECKING:
    from pathlib import Path

QUICK = {"num_inference_steps": 1}
CHORALE = SyntheticChorales(num=1, num_bars=(5, 5)).scores()[0].read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache) -> Path:
    """A model of windows of two bars that composes by chance, and a chorale and a melody beside it."""
    folder = tmp_path_factory.mktemp("compose")
    recipe = find_recipe("music-compose-debug")
    prepared = prepare(recipe)
    parts = awake(assembly.make_parts(recipe, prepared))
    assembly.make_pipeline(recipe, parts, prepared.class_names).save(folder / "model")
    write_midi(CHORALE, folder / "chorale.mid")
    write_midi(melody(), folder / "melody.mid")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return synesthete.load(str(folder / "model"))


def melody(num: int = 12, up: int = 0) -> Score:
    pitches = [67, 67, 69, 71, 72, 71, 69, 67, 66, 67, 69, 67]
    notes = [Note(pitches[i] + up, float(i), 0.5 if i % 3 else 1.0) for i in range(num)]
    return Score(tuple(notes))


def sung(score: Score, voice: int = 0) -> list[tuple[int, float, float]]:
    """Pitch, start and duration of a voice's notes, from its first on."""
    notes = [note for note in score.notes if note.voice == voice]
    return [(note.pitch, note.start - notes[0].start, note.duration) for note in notes]


def rows(score: Score) -> torch.Tensor:
    """As `to_grid`, each voice by its number: what is made by chance may be above a higher one."""
    voices = [to_grid(replace(score, notes=tuple(n for n in score.notes if n.voice == voice)), 1) for voice in range(4)]
    longest = max(voice.shape[-1] for voice in voices)
    return torch.cat([torch.nn.functional.pad(voice, (0, longest - voice.shape[-1])) for voice in voices])


@pytest.mark.parametrize("total", [1, 7, 8, 9, 13, 40])
def test_windows_make_everything_once_and_see_what_came_before(total):
    known = torch.zeros(4, total * BAR, dtype=torch.bool)
    starts = plan_windows(known, 8)
    made = set()
    for start in starts:
        bars = {*range(start, min(start + 8, total))}
        assert bars - made
        assert start == 0 or len(bars & made) >= 4
        made |= bars
    assert made == {*range(total)}


def test_a_gap_is_filled_from_both_sides():
    known = torch.ones(4, 20 * BAR, dtype=torch.bool)
    known[:, 9 * BAR : 11 * BAR] = False
    assert plan_windows(known, 8) == [6]


@pytest.mark.parametrize(
    ("bars", "voice", "up"), [(None, None, 0), (7, None, 0), (None, "tenor", 0), (None, None, -24), (None, None, 20)]
)
def test_not_a_note_of_a_melody_is_changed(model, tmp_path, bars, voice, up):
    write_midi(given := melody(up=up), path := tmp_path / "melody.mid")
    made = model(path, harmonise=True, bars=bars, voice=voice, seed=3, **QUICK)
    place = 2 if voice else 0
    there = sung(made.score, place)[: len(given.notes)]
    moved = there[0][0] - given.notes[0].pitch
    assert there == [(pitch + moved, start, length) for pitch, start, length in sung(given)]
    assert moved % 12 == 0
    assert bool(moved) == bool(up) or voice
    assert {note.voice for note in made.score.notes} == {0, 1, 2, 3}
    assert made.how["bars"] == (bars or 3)


@pytest.mark.parametrize(
    ("asked", "anew"),
    [
        ({"goes_on": True, "bars": 9}, lambda voice, bar: bar >= 5),
        ({"fill": "3-4"}, lambda voice, bar: bar in (2, 3)),
        ({"fill": "2"}, lambda voice, bar: bar == 1),
        ({"remake": "alto, bass"}, lambda voice, bar: voice in (1, 3)),
        ({"remake": "soprano", "fill": "5"}, lambda voice, bar: voice == 0 and bar == 4),
    ],
)
def test_what_is_not_asked_for_is_as_it_was(model, folder, asked, anew):
    made = model(folder / "chorale.mid", **asked, **QUICK)
    before, after = rows(CHORALE), rows(made.score)
    changed = []
    for voice in range(4):
        for bar in range(before.shape[-1] // BAR):
            here = voice, slice(None), slice(bar * BAR, (bar + 1) * BAR)
            if anew(voice, bar):
                changed.append(not torch.equal(before[here], after[here]))
            else:
                pitch, begins = before[here]
                assert torch.equal(after[here][0], pitch)
                assert torch.equal(after[here][1, 1:], begins[1:])
    assert any(changed) or "goes_on" in asked
    assert after.shape[-1] == asked.get("bars", 5) * BAR


def test_a_piece_is_the_same_alone_and_among_others_and_says_its_key(model):
    three = model(num=3, bars=3, seed=5, **QUICK)
    assert three[0].score == model(num=1, bars=3, seed=5, **QUICK)[0].score
    assert three[0].score.notes != three[1].score.notes
    told = [read_key(one.how["key"]) for one in three]
    assert told == [one.score.key for one in three]
    assert len({*told}) > 1
    assert model(bars=1, key="eb minor", **QUICK).how["key"] == "Eb minor"


def test_a_melody_is_the_highest_notes_of_what_has_no_four_voices(model, tmp_path):
    chords = [Note(pitch, float(i), 1.0) for i in range(8) for pitch in (60, 64, 72 - i % 3)]
    write_midi(Score(tuple(chords)), tmp_path / "chords.mid")
    made = model(tmp_path / "chords.mid", harmonise=True, **QUICK)
    assert [pitch for pitch, *_ in sung(made.score)] == [72 - i % 3 for i in range(8)]


def test_the_command_writes_notes_sound_and_picture(command, folder, tmp_path):
    uneven = [Note(67, 0.1, 0.9), Note(69, 1.0, 1.0), Note(71, 2.0, 2.0)]
    write_midi(Score(tuple(uneven)), tmp_path / "uneven.mid")
    asked = ("--init", tmp_path / "uneven.mid", "--harmonise", "--num", 2, "--steps", 1, "--json")
    code, printed, _ = command("play", folder / "model", *asked, "--out", tmp_path / "out")
    assert code == 0
    stems = ("000", "001")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{stem}.{suffix}" for stem in stems for suffix in ("mid", "wav", "png", "json")
    }
    values = json.loads(printed.splitlines()[-1])
    assert values["written"] == [str(tmp_path / "out" / f"{stem}.mid") for stem in stems]
    assert any("1 of 3 notes moved to the nearest sixteenth" in note for note in values["notes"])
    how = json.loads((tmp_path / "out" / "000.json").read_text())
    assert how["key"] in values["notes"][-1]
    assert sung(read_midi(tmp_path / "out" / "000.mid")) == [(67, 0.0, 1.0), (69, 1.0, 1.0), (71, 2.0, 2.0)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"harmonise": True}, "of which score?"),
        ({"init": "melody.mid"}, "what is to be done"),
        ({"init": "melody.mid", "harmonise": True, "fill": "1"}, "give one of them"),
        ({"init": "melody.mid", "goes_on": True}, "give --bars"),
        ({"init": "melody.mid", "goes_on": True, "bars": 3}, "has 3; give more than that"),
        ({"init": "melody.mid", "harmonise": True, "bars": 2}, "has 3; give that"),
        ({"init": "melody.mid", "fill": "0-1"}, "first and the last"),
        ({"init": "melody.mid", "fill": "9"}, "has 3 bars"),
        ({"init": "melody.mid", "remake": "alto"}, "is a melody; give --harmonise"),
        ({"init": "chorale.mid", "remake": "oboe"}, "there are soprano, alto"),
        ({"init": "chorale.mid", "remake": "soprano,alto,tenor,bass"}, "no voice is left"),
        ({"init": "melody.mid", "harmonise": True, "voice": "oboe"}, "there are soprano, alto"),
        ({"init": "none.mid", "harmonise": True}, "no such file"),
        ({"init": "model", "harmonise": True}, "no such file"),
        ({"init": "wide.mid", "harmonise": True}, "too far apart for pitches 34 to 82"),
        ({"init": "waltz.mid", "harmonise": True}, "not in bars of 4 quarter notes"),
        ({"init": "duet.mid", "goes_on": True, "bars": 9}, "a score of 2 voices"),
        ({"key": "H major"}, "no such key"),
        ({"bars": 0}, "give 1 to"),
        ({"tempo": 0.5}, "quarter notes a minute"),
        ({"instrument": "kazoo"}, "there are strings, organ"),
        ({"player": "organ.wav"}, "no SoundFont"),
    ],
)
def test_what_cannot_be_is_one_line(model, folder, asked, said):
    write_midi(Score((Note(20, 0, 1), Note(100, 1, 1))), folder / "wide.mid")
    write_midi(Score((Note(60, 0, 1),), beats_per_bar=3), folder / "waltz.mid")
    write_midi(Score((Note(60, 0, 1), Note(70, 0, 1, voice=1))), folder / "duet.mid")
    if "init" in asked:
        asked = {**asked, "init": folder / str(asked["init"])}
    with pytest.raises(InputError, match=said) as caught:
        model(**asked)
    assert "\n" not in str(caught.value)


def test_a_page_hides_which_pieces_were_made(folder, tmp_path, monkeypatch):
    asked = ["listening", str(folder / "model"), "--num", "1", "--out", str(tmp_path / "page")]
    monkeypatch.setattr("sys.argv", asked)
    listening.main()
    shown, _, answers = (tmp_path / "page" / "README.md").read_text().partition("<details>")
    assert "chorale" not in shown.replace("Chorales", "")
    assert sorted(line.split()[1].strip(",") for line in answers.splitlines() if line[:1].isdigit()) == ["held", "made"]
    assert all((tmp_path / "page" / f"{number}.{kind}").is_file() for number in (1, 2) for kind in ("ogg", "png"))


@pytest.mark.parametrize(("text", "key"), [("C", (0, "major")), ("bb", (10, "major")), ("f#  Minor", (6, "minor"))])
def test_keys_are_read(text, key):
    assert read_key(text) == key
