"""How loud a piece is to be, told to a model: by number, by nobody, and by chance."""

from __future__ import annotations

import pytest
import torch

from synesthete import seeding
from synesthete.conditioning.labels import Loudness, quantiles
from synesthete.types import InputError


@pytest.fixture(scope="module")
def loudness() -> Loudness:
    return Loudness((-40.0, -20.0, -18.0, -10.0), width=8).eval()


def test_levels_are_told_apart_and_none_is_the_null(loudness):
    told = loudness.encode(torch.tensor([-40.0, -12.0, torch.nan])).pooled
    assert not torch.allclose(told[0], told[1], atol=1e-3)
    torch.testing.assert_close(told[2:], loudness.null(1).pooled)
    middle = loudness.encode(torch.tensor([-25.0])).pooled  # to which a level that is left out must not be equal
    assert not torch.allclose(middle, told[2:], atol=1e-3)


def test_what_is_left_out_is_drawn_as_it_is_distributed_in_training(loudness):
    learned = -15 + 5 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    loudness = Loudness(quantiles(learned), width=8)
    drawn = loudness.complete(loudness.compose(2000), seeding.sample_generators(0, 2000))
    assert drawn.mean().item() == pytest.approx(-15, abs=0.5)
    assert drawn.std().item() == pytest.approx(5, abs=0.5)
    again = loudness.complete(loudness.compose(3), seeding.sample_generators(0, 2000)[:3])
    assert torch.equal(again, drawn[:3])
    given = loudness.complete(torch.tensor([-15.0, torch.nan]), seeding.sample_generators(0, 2))
    assert given[0] == -15 and given[1] == drawn[1]


def test_levels_that_were_not_learned_are_refused(loudness):
    assert loudness.compose(2, -20).tolist() == [-20, -20]
    for level in (-41.0, 0.0, float("nan")):
        with pytest.raises(InputError, match=r"dB: this model learned -40 to -10; give one of these$"):
            loudness.compose(1, level)
    for levels in ((-10.0,), (-10.0, -20.0)):
        with pytest.raises(InputError, match="two or more, in dB, from the lowest up"):
            Loudness(levels)


def test_what_data_have_told_is_saved_with_a_model(tmp_path):
    Loudness((-30.0, -10.0), width=8).save_pretrained(tmp_path)
    assert Loudness.from_pretrained(tmp_path).levels == (-30.0, -10.0)
