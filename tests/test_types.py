"""What passes between the layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.types import AudioSpec, Batch, Condition


def condition(batch: int, offset: float = 0.0, *, spatial: bool = True, keys: bool = False) -> Condition:
    rows = torch.arange(float(batch)) + offset
    return Condition(
        tokens=rows.view(-1, 1, 1).expand(batch, 3, 4),
        mask=torch.arange(batch).view(-1, 1).expand(batch, 3) % 2 == 0,
        pooled=rows.view(-1, 1).expand(batch, 4),
        spatial=rows.view(-1, 1, 1, 1).expand(batch, 1, 2, 2) if spatial else None,
        keys_values=((rows.view(-1, 1, 1, 1), -rows.view(-1, 1, 1, 1)),) if keys else None,
    )


def rows(told: Condition) -> list[float]:
    """Which samples a condition holds; every part has to agree."""
    found = told.pooled[:, 0]
    for part in (told.tokens, told.spatial, *(key for key, _ in told.keys_values or ())):
        assert part is None or torch.equal(part.reshape(len(part), -1)[:, 0], found)
    return found.tolist()


@given(keep=st.lists(st.booleans(), min_size=1, max_size=8), spatial=st.booleans())
def test_where_chooses_each_sample_by_itself(keep, spatial):
    """A seed dropped the condition of the whole batch at once."""
    chosen, other = condition(len(keep), spatial=spatial), condition(len(keep), 100, spatial=spatial)
    mixed = Condition.where(torch.tensor(keep), chosen, other)
    assert rows(mixed) == [i if k else i + 100 for i, k in enumerate(keep)]
    assert (mixed.spatial is None) == (not spatial)
    with pytest.raises(ValueError, match="before their keys and values"):
        Condition.where(torch.tensor(keep), condition(len(keep), spatial=spatial, keys=True), other)


def test_a_chosen_mask_goes_with_its_tokens():
    other = Condition(tokens=torch.zeros(2, 3, 4), mask=torch.zeros(2, 3, dtype=torch.bool), pooled=torch.zeros(2, 4))
    mixed = Condition.where(torch.tensor([True, False]), condition(2, spatial=False), other)
    assert mixed.mask.tolist() == [[True] * 3, [False] * 3]


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), keys=st.booleans())
def test_parts_joined_and_cut_are_what_they_were(sizes, keys):
    parts = [condition(size, 10.0 * i, keys=keys) for i, size in enumerate(sizes)]
    joined = Condition.concatenate(parts)
    assert len(joined) == sum(sizes)
    assert rows(joined) == [value for part in parts for value in rows(part)]
    first = 0
    for size, part in zip(sizes, parts, strict=True):
        cut = joined[first : first + size]
        assert rows(cut) == rows(part)
        assert torch.equal(cut.mask, part.mask)
        first += size
    assert rows(joined[torch.tensor([0, 0])]) == [rows(joined)[0]] * 2
    assert (joined[0:1].keys_values is not None) == keys


def test_a_dtype_changes_numbers_and_leaves_the_mask():
    told = condition(2, keys=True).to(torch.float16)
    assert told.tokens.dtype == told.pooled.dtype == told.spatial.dtype == torch.float16
    assert told.keys_values[0][1].dtype == torch.float16
    assert told.mask.dtype == torch.bool
    moved = condition(2).to("meta", torch.bfloat16)
    assert {moved.tokens.device.type, moved.mask.device.type} == {"meta"}
    assert (moved.tokens.dtype, moved.mask.dtype) == (torch.bfloat16, torch.bool)
    assert condition(2).to(device="meta").mask.device.type == "meta"


def test_parts_that_are_absent_stay_absent():
    told = Condition(pooled=torch.zeros(3, 2))
    for changed in (told.to(torch.float64), told[:2], Condition.concatenate([told, told])):
        assert changed.tokens is changed.mask is changed.spatial is changed.keys_values is None
    with pytest.raises(ValueError, match="no batch size"):
        len(Condition())


@given(num_frames=st.integers(1, 2000))
def test_frames_and_samples_are_inverse(num_frames):
    spec = AudioSpec()
    assert spec.num_frames(spec.num_samples(num_frames)) == num_frames
    assert spec.num_frames(spec.num_samples(num_frames) + spec.hop_length - 1) == num_frames


def test_a_batch_moves_whole():
    batch = Batch(signal=torch.zeros(2, 3), raw=torch.zeros(2), label=torch.zeros(2, dtype=torch.int64)).to("meta")
    assert {batch.signal.device.type, batch.raw.device.type, batch.label.device.type} == {"meta"}
