"""What a frozen conditioner sees is computed once: the same pictures, fewer looks."""

from __future__ import annotations

import contextlib

import pytest
import torch

from synesthete.conditioning.pictures import PictureStem, ResidualStem
from synesthete.data.augmentation import FlipCrop
from synesthete.data.labelled import ImageSpeechSamples
from synesthete.training.precompute import choose_view, precompute_features
from synesthete.types import InputError


@pytest.fixture
def stem() -> ResidualStem:
    torch.manual_seed(0)
    return ResidualStem(widths=(8, 8, 16), width=32)


@pytest.fixture
def samples() -> ImageSpeechSamples:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (300, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.arange(300) % 3
    return ImageSpeechSamples(torch.randn(6, 1, 4, 8), torch.arange(6) % 3, pictures, labels, FlipCrop(padding=2))


def looked(stem, samples, num_views, seed=0, seen=None):
    report = (lambda done, total: seen.append((done, total))) if seen is not None else lambda *_: None
    return precompute_features(stem, samples, num_views, seed, autocast=contextlib.nullcontext, report=report)


def test_one_view_is_the_picture_as_it_is(stem, samples):
    kept = looked(stem, samples, 1)
    batch = kept.batch(torch.tensor([5, 299]), torch.Generator().manual_seed(0))
    own = stem.eval().extract_features(samples.pictures[[5, 299]])
    torch.testing.assert_close(batch.raw.float(), own, rtol=1e-2, atol=1e-2)
    assert batch.label.tolist() == [2, 2]


def test_further_views_are_augmented_and_drawn_by_chance(stem, samples):
    kept = looked(stem, samples, 3)
    assert kept.pictures.shape == (300, 3, 16, 4, 4)
    assert not torch.equal(kept.pictures[:, 0], kept.pictures[:, 1])
    assert not torch.equal(kept.pictures[:, 1], kept.pictures[:, 2])
    draws = {kept.batch(torch.tensor([0]), torch.Generator().manual_seed(seed)).raw.sum().item() for seed in range(30)}
    assert len(draws) == 3


def test_the_same_seed_sees_the_same_and_the_progress_is_told(stem, samples):
    seen: list[tuple[int, int]] = []
    first, again = looked(stem, samples, 2, seen=seen), looked(stem, samples, 2)
    assert torch.equal(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, looked(stem, samples, 2, seed=1).pictures)
    assert seen == [(250, 300), (300, 300)]


def test_a_view_is_of_its_own_picture():
    views = torch.arange(20).view(5, 4)
    chosen = choose_view(views, torch.Generator().manual_seed(0))
    assert (chosen // 4).tolist() == [0, 1, 2, 3, 4]


def test_a_conditioner_that_cannot_be_frozen_says_so(stem):
    stem.freeze()
    assert stem.frozen
    stem.freeze(False)
    assert not stem.frozen
    PictureStem(widths=(8, 8), width=32).freeze(False)
    with pytest.raises(InputError, match="num_views=0"):
        PictureStem(widths=(8, 8), width=32).freeze()
