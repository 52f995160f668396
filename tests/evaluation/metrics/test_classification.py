"""Figures with values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from synesthete.evaluation.audio_features.spectra import signal_difference
from synesthete.evaluation.metrics.metric import accuracy, confusion, interval, interval_of_mean
from synesthete.types import InputError


def test_difference_by_hand():
    found = signal_difference(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert found.mean_absolute == pytest.approx(0.5)
    assert found.mean_square == pytest.approx(1.0)
    assert found.largest == pytest.approx(2.0)
    assert found.snr_db == pytest.approx(10 * math.log10(7.5))  # power (1 + 4 + 9 + 16) / 4 over 1
    assert found.pearson == pytest.approx(8 / math.sqrt(5 * 14))


def test_no_difference_and_no_variation():
    same = signal_difference(torch.arange(6.0).view(2, 3), torch.arange(6.0).view(2, 3))
    assert (same.mean_absolute, same.snr_db) == (0.0, math.inf)
    assert same.pearson == pytest.approx(1.0)
    assert signal_difference(torch.arange(3.0), -torch.arange(3.0)).pearson == pytest.approx(-1.0)
    assert math.isnan(signal_difference(torch.ones(4), torch.arange(4.0)).pearson)
    assert signal_difference(torch.zeros(4), torch.ones(4)).snr_db == -math.inf


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((0,), (0,))])
def test_what_cannot_be_compared_is_an_error(shapes):
    with pytest.raises(InputError, match="cannot compare"):
        signal_difference(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_rows_of_a_confusion_are_the_truth():
    """Two sevens taken for ones are in the row of the sevens; an answer of -1 is in the last column."""
    counts = confusion(torch.tensor([0, 2, 2, 2, 1]), torch.tensor([0, 1, 1, -1, 1]), 3)
    assert counts.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 1]]


def test_nothing_heard_is_wrong():
    assert accuracy(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, -1, 2])) == 0.5


def test_intervals():
    """Wilson's interval of 8 in 10 by hand: (0.8 + z^2/20 -+ z sqrt(0.016 + z^2/400)) / (1 + z^2/10)."""
    assert interval(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = interval(1.0, 500)
    assert 0.99 < low < 1
    assert high == 1.0
    assert interval(0.0, 0) == (0.0, 1.0)
    low, high = interval_of_mean(torch.tensor([1.0, 3.0] * 50))
    assert (low + high) / 2 == pytest.approx(2)
    assert high - low == pytest.approx(2 * 1.96 * 1.005 / 10, rel=1e-3)
