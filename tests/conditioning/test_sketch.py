"""What is told of a score: hints, each of which may be left out, and held notes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete.conditioning.score_roll import HINTS, UNTOLD, SketchedScore
from synesthete.types import InputError, ScoreSketch

SIZE, COLUMNS = 6, 32


@pytest.fixture(scope="module")
def conditioner():
    torch.manual_seed(0)
    return SketchedScore(num_columns=COLUMNS, width=8, dropout=0.5)


def sketch(size=SIZE, held=False, **hints):
    told = {name: torch.full((size,), hints.get(name, UNTOLD)) for name in HINTS}
    voices = torch.zeros(size, 4, 2, COLUMNS, dtype=torch.uint8)
    voices[:, :, 0], voices[:, :, 1, ::4] = 60, 1
    return ScoreSketch(**told, voices=voices, held=torch.full((size, 4, COLUMNS), held))


def test_nothing_told_and_nothing_held_is_the_null(conditioner):
    told, null = conditioner.encode(sketch()), conditioner.null(SIZE)
    assert torch.equal(told.tokens, null.tokens)
    assert torch.equal(told.pooled, null.pooled)
    assert torch.equal(told.spatial, null.spatial)
    assert told.tokens.shape == (SIZE, len(HINTS), 8)
    assert told.spatial.shape == (SIZE, *conditioner.spatial_shape)


@pytest.mark.parametrize("name", HINTS)
def test_every_hint_says_something_by_itself(conditioner, name):
    told, null = conditioner.encode(sketch(**{name: 1})), conditioner.null(SIZE)
    assert not torch.equal(told.pooled, null.pooled)
    changed = (told.tokens != null.tokens).any(-1).any(0)
    assert changed.tolist() == [one == name for one in HINTS]
    with pytest.raises(InputError, match=f"{name} .*out of range"):
        conditioner.encode(sketch(**{name: HINTS[name]}))


def test_held_notes_lie_beside_x_0_and_others_are_not_looked_at(conditioner):
    raw = sketch()
    raw.held[:, 0, :16] = True
    spatial = conditioner.encode(raw).spatial
    roll, mask, key = spatial[:, :4], spatial[:, 4:8], spatial[:, 8:]
    assert not key.any()
    assert torch.equal(mask[:, 0, :, :16], torch.ones(SIZE, 51, 16))
    assert mask.sum() == SIZE * 51 * 16
    assert roll[:, 0, 60 - 34, :16].eq(1).all()
    assert roll[:, 0, -1, :16].gt(0).nonzero()[:, 1].unique().tolist() == [0, 4, 8, 12]
    assert not roll[mask == 0].any()
    other = replace(raw, voices=torch.where(raw.held[:, :, None], raw.voices, 127))
    assert torch.equal(conditioner.encode(other).spatial, spatial)


def test_the_key_lies_in_the_rows_of_its_tonic(conditioner):
    for mode, value in ((0, -1), (1, 1), (UNTOLD, 0)):
        tonic, of_mode = conditioner.encode(sketch(tonic=7, mode=mode)).spatial[0, -2:]
        rows = [pitch - 34 for pitch in (43, 55, 67, 79)]
        assert tonic[:, 0].nonzero().flatten().tolist() == rows
        assert torch.equal(of_mode, value * tonic)
        assert torch.equal(tonic, tonic[:, :1].expand_as(tonic))
    assert not conditioner.encode(sketch(mode=1)).spatial.any()


def test_in_training_each_hint_is_left_out_by_itself(conditioner):
    size = 2000
    raw = sketch(size, **dict.fromkeys(HINTS, 1))
    told = conditioner.encode(raw, torch.Generator().manual_seed(0))
    null = conditioner.null(size)
    left_out = (told.tokens == null.tokens).all(-1).float()  # (B, 4)
    assert left_out.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.05)
    assert (left_out.sum(1) == 4).float().mean() == pytest.approx(1 / 16, abs=0.02)


def test_guidance_leads_by_hints_alone(conditioner):
    raw = sketch(held=True, tonic=3)
    null, _, told = conditioner.branches(raw)
    assert torch.equal(null.spatial[:, :-2], told.spatial[:, :-2])
    assert not null.spatial[:, -2:].any()
    assert told.spatial[:, -2:].any()
    assert torch.equal(null.pooled, conditioner.null(SIZE).pooled)
    dropped = conditioner.drop(told, raw, torch.Generator().manual_seed(0), 1.0)
    assert torch.equal(dropped.spatial, null.spatial)
    assert torch.equal(dropped.pooled, null.pooled)
