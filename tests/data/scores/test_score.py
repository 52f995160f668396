"""What is true of a score however it is played, moved or drawn as a roll."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete.data.scores.score import Note, Score
from synesthete.types import InputError

SCALE = Score(
    tuple(Note(60 + step, quarter, 1.0) for quarter, step in enumerate((0, 2, 4, 4, 7))),
    ((0.0, 60.0), (2.0, 120.0)),
    key=(9, "minor"),
)


def test_seconds_follow_every_tempo():
    assert [SCALE.seconds(quarter) for quarter in (0, 1, 2, 3, 5)] == [0, 1, 2, 2.5, 3.5]
    assert SCALE.length == 5
    assert SCALE.at_tempo(30).seconds(5) == 10


def test_a_transposition_moves_notes_and_key_and_is_undone_by_its_opposite():
    moved = SCALE.transposed(5)
    assert [note.pitch for note in moved.notes] == [65, 67, 69, 69, 72]
    assert moved.key == (2, "minor")
    assert moved.transposed(-5) == SCALE
    with pytest.raises(InputError, match="pitch 129"):
        SCALE.transposed(67)


def test_a_frame_holds_what_sounds_at_its_middle_and_says_what_begins():
    sounding, onset = SCALE.frames(9, 0.5)
    assert sounding.sum(1).nonzero().flatten().tolist() == [60, 62, 64, 67]
    assert [row.nonzero().flatten().tolist() for row in sounding[[60, 62, 64, 67]]] == [[0, 1], [2, 3], [4, 5], [6]]
    assert onset[64].nonzero().flatten().tolist() == [4, 5]  # the same pitch again begins again
    assert onset.sum() == len(SCALE.notes)


def test_a_window_of_frames_is_a_part_of_all_frames_but_for_what_began_before_it():
    whole, window = SCALE.frames(20, 0.25), SCALE.frames(8, 0.25, start=0.75)
    assert torch.equal(window[0], whole[0, :, 3:11])
    assert torch.equal(window[1], whole[1, :, 3:11])
    assert not window[1, 60].any()


def test_notes_are_in_order_and_the_shortest_still_sounds():
    score = Score((Note(70, 3, 0.01), Note(50, 0, 1)))
    assert [note.pitch for note in score.notes] == [50, 70]
    assert score.frames(10, 0.5)[:, 70].sum() == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tempos": ((1.0, 90.0),)}, "the first is from 0"),
        ({"tempos": ((0.0, 0.0),)}, "a tempo of 0"),
        ({"tempos": ((0.0, float("nan")),)}, "a tempo of nan"),
        ({"upbeat": 4.0}, "an upbeat of 4.0"),
        ({"key": (12, "major")}, "0 \\(C\\) to 11"),
    ],
)
def test_what_no_score_can_be_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        replace(SCALE, **change)


@pytest.mark.parametrize(
    "fields", [(128, 0, 1), (60, -1, 1), (60, 0, 0), (60, float("nan"), 1), (60, 0, 1, 0), (60, 0, 1e9)]
)
def test_what_no_note_can_be_is_refused(fields):
    with pytest.raises(InputError, match="a note"):
        Note(*fields)
