"""What was heard, matched to what may be said."""

from __future__ import annotations

import pytest

from synesthete.evaluation.recognizers import nearest_class, normalise, phrases_of

PHRASES = phrases_of(["two", ("seven", "the number seven"), "A goldfish, bright orange fish"])


@pytest.mark.parametrize(
    ("phrase", "plain"),
    [
        ("A goldfish, bright orange fish!", "a goldfish bright orange fish"),
        (" 7. ", "seven"),
        ("42 cafés", "forty two cafes"),
        ("the 1990s and 100", "the 1990s and 100"),
        ("don\u2019t", "don't"),
    ],
)
def test_phrases_are_written_as_they_are_heard(phrase, plain):
    assert normalise(phrase) == plain


def test_a_class_may_have_several_phrases():
    assert PHRASES == (("two",), ("seven", "the number seven"), ("a goldfish bright orange fish",))


@pytest.mark.parametrize(
    ("transcript", "answer"),
    [
        ("2.", 0),
        ("To", 0),  # one letter left out of three
        ("The number 7!", 1),
        ("a gold fish, bright orange", 2),
        ("Thank you for watching.", -1),
        ("", -1),
    ],
)
def test_the_nearest_phrase_or_none_of_them(transcript, answer):
    assert nearest_class(transcript, PHRASES) == answer


def test_as_near_to_two_classes_is_none_of_them():
    assert nearest_class("cat", phrases_of(["bat", "rat"])) == -1
    assert nearest_class("bat", phrases_of(["bat", "rat"])) == 0
