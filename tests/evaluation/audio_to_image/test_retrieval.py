"""From a sound to real pictures: ranks that are right, at chance, and in the middle where all is alike."""

from __future__ import annotations

import pytest
import torch
from hearers import COLOURS, paired

from synesthete.tasks.audio_to_image.eval_conditions import draw_conditions
from synesthete.tasks.audio_to_image.similarity import rank, retrieve_classes, retrieve_own


def features(labels: torch.Tensor, noise: float, seed: int = 0) -> torch.Tensor:
    """A direction a class, and noise."""
    draw = torch.Generator().manual_seed(seed)
    return torch.eye(12)[labels] + noise * torch.randn(len(labels), 12, generator=draw)


def test_the_rank_is_the_place_in_the_order():
    gallery = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]])
    query = torch.tensor([[2.0, 0.1]])
    assert [rank(query, gallery, torch.tensor([i])).item() for i in range(3)] == [1, 2, 3]


def test_pictures_that_are_all_alike_rank_as_by_chance():
    gallery = torch.ones(1, 9, 4)
    assert rank(torch.ones(1, 4), gallery, torch.tensor([0])).item() == 5


def test_a_class_is_found_by_its_like_and_lost_in_noise():
    labels, real_labels = torch.arange(10).repeat(20), torch.arange(10).repeat(7)
    real = features(real_labels, 0.05, 1), real_labels, len(labels), 0
    mean, first, fifth = retrieve_classes(features(labels, 0.05), labels, *real)
    assert (mean.value, first.value, fifth.value) == (1, 1, 1)
    assert (mean.chance, first.chance, fifth.chance) == (5.5, 0.1, 0.5)
    assert mean.ceiling == 1
    assert mean.shuffled > 4
    lost = retrieve_classes(features(0 * labels, 5), labels, *real)
    assert lost[0].value == pytest.approx(5.5, abs=0.8)
    assert lost[1].value < 0.25
    assert lost[0].ceiling == 1


def test_one_class_leaves_nothing_to_find():
    labels = torch.zeros(5, dtype=torch.int64)
    assert retrieve_classes(features(labels, 1), labels, features(labels, 1), labels, 5, 0) == []


def test_its_own_picture_is_found_among_the_others():
    conditions = draw_conditions(paired("test", 6, 0, own=True), COLOURS, 24, 0)
    pictures = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
    found = retrieve_own(pictures[conditions.pictures], conditions, pictures, 0)
    mean, first, _ = found
    assert "among 24" in mean.title
    assert mean.value == first.value == 1
    assert mean.shuffled > 4
    assert retrieve_own(pictures, draw_conditions(paired("test", 6, 0), COLOURS, 24, 0), pictures, 0) == []
