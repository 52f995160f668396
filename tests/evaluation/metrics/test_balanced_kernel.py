"""Sets with equally many of each class: real against real is 0 on average, which the usual estimate is not."""

from __future__ import annotations

import math

import pytest
import torch

from synesthete.evaluation.metrics.distribution import MAX_SPLIT, balanced_floor, balanced_kernel, kernel

CLASSES, WIDTH = 5, 16
CENTRES = 1.5 * torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0))


def draw(each, generator, shift=0.0):
    labels = torch.arange(CLASSES).repeat_interleave(each)
    noise = 0.5 * torch.randn(len(labels), WIDTH, generator=generator)
    return CENTRES[labels] + noise + shift, labels


def estimates(trials, each, shift=0.0):
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(trials):
        real, made = draw(12, generator), draw(each, generator, shift)
        found.append((balanced_kernel(*real, *made), kernel(real[0], made[0], num_subsets=0).value))
    return torch.tensor(found).T


def test_equal_mixtures_are_at_0_and_within_the_floor():
    balanced, usual = estimates(60, each=4)
    error = balanced.std() / math.sqrt(60)
    assert balanced.mean().abs() < 3 * error
    floor = balanced_floor(*draw(12, torch.Generator().manual_seed(2)), 4 * CLASSES)
    assert balanced.square().mean().sqrt() == pytest.approx(floor, rel=0.4)
    # What it is there for: taken for independent draws, the same sets are far below 0.
    assert usual.mean() < -2 * floor


def test_other_mixtures_are_not():
    balanced, _ = estimates(10, each=4, shift=0.3)
    floor = balanced_floor(*draw(12, torch.Generator().manual_seed(2)), 4 * CLASSES)
    assert balanced.min() > 3 * floor


def test_a_missing_class_is_seen():
    """Pictures that are all of one class are far from a mixture, whatever they were asked to show."""
    generator = torch.Generator().manual_seed(3)
    (real, labels), (made, _) = draw(12, generator), draw(12, generator)
    one = made[:12].repeat(CLASSES, 1)
    assert balanced_kernel(real, labels, one, labels) > 10 * balanced_kernel(real, labels, made, labels)


def test_one_label_for_all_is_the_usual_estimate():
    generator = torch.Generator().manual_seed(4)
    (real, labels), (made, other) = draw(6, generator), draw(4, generator, 0.2)
    expected = kernel(real, made, num_subsets=0).value
    assert balanced_kernel(real, 0 * labels, made, 0 * other) == pytest.approx(expected, rel=1e-6)


def test_more_of_one_class_do_not_weigh_more():
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(40):
        (real, labels), (made, other) = draw(12, generator), draw(20, generator)
        kept = torch.cat([torch.arange(20), 20 + torch.arange(3), torch.arange(40, 100)])
        found.append(balanced_kernel(real, labels, made[kept], other[kept]))
    found = torch.tensor(found)
    assert found.mean().abs() < 3 * found.std() / math.sqrt(40)


def test_a_class_of_one_leaves_a_figure_and_all_of_one_leave_none():
    generator = torch.Generator().manual_seed(6)
    (real, labels), (made, other) = draw(12, generator), draw(4, generator)
    assert math.isfinite(balanced_kernel(real, labels, made[3:], other[3:]))
    assert math.isnan(balanced_kernel(real, labels, made[::4], other[::4]))
    assert math.isnan(balanced_floor(made[::4], other[::4], 5))


def test_many_pictures_take_bounded_memory_and_a_block_more_changes_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(7)
    (real, labels), (made, other) = draw(12, generator), draw(7, generator)
    whole = balanced_kernel(real, labels, made, other)
    monkeypatch.setattr("synesthete.evaluation.metrics.distribution.ROWS", 8)
    assert balanced_kernel(real, labels, made, other) == pytest.approx(whole, rel=1e-9)
    many, own = draw(MAX_SPLIT, generator)
    assert 0 < balanced_floor(many, own, 100, num_splits=3) < 1
