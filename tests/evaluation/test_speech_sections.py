"""Sections of the report stay readable with a hundred classes."""

from __future__ import annotations

import pytest
import torch

from synesthete.evaluation.metrics.metric import confusion, per_class
from synesthete.evaluation.recognizers import X_0
from synesthete.evaluation.reporting.report import Card, Gallery, Report, Section, to_html
from synesthete.tasks.image_to_speech.report import NUM_PAIRS, NUM_SHOWN, by_class, confusions, shown_places

NAMES = tuple(f"class {i}" for i in range(100))


@pytest.fixture
def hundred():
    """300 pictures of a hundred classes: class 7 always, class 9 once taken for class 70; class 99 has no picture."""
    labels = torch.arange(300) % 99
    answers = labels.clone()
    answers[labels == 7] = 70
    answers[9] = 70
    return labels, answers, answers.where(labels == 9, labels)


def test_the_worst_classes_come_first_and_those_without_a_picture_are_left_out(hundred):
    labels, answers, seen = hundred
    table = by_class(NAMES, labels, {X_0: per_class(labels, answers, 100)}, seen).items[0]
    assert table.columns == ("class", "n", X_0, "seen by the probe")
    assert len(table.rows) == 99
    assert table.rows[0] == ("class 7", 3, 0.0, 1.0)
    assert table.rows[1][0] == "class 9"
    assert table.rows[1][2:] == pytest.approx((2 / 3, 2 / 3))
    assert {row[2] for row in table.rows[2:]} == {1.0}


def test_the_commonest_mistakes_are_named(hundred):
    labels, answers, _ = hundred
    picture, table = confusions(NAMES, {X_0: confusion(labels, answers, 100)}).items
    assert picture.content.startswith(b"\x89PNG")
    assert table.rows == [("class 7", "class 70", 3), ("class 9", "class 70", 1)]
    assert len(table.rows) <= NUM_PAIRS
    assert len(confusions(NAMES, {X_0: confusion(labels, labels, 100)}).items) == 1  # no mistakes


def test_samples_of_some_classes_are_shown_evenly(hundred):
    places = shown_places(hundred[0])
    assert len(places) == len(set(places)) == NUM_SHOWN
    assert places[0] == 0
    assert places[-1] > 90


def test_cards_that_belong_in_one_row_stay_in_it():
    page = to_html(Report("x", sections=[Section("y", items=[Gallery([Card("a", []), Card("b", [])], columns=2)])]))
    assert "grid-template-columns: repeat(2," in page
