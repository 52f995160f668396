"""Random numbers as a function of what they are for."""

from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete import seeding

names = st.lists(
    st.one_of(st.integers(0, 10**9), st.text(st.characters(exclude_characters="/"), max_size=8)), max_size=4
)


@given(seed=st.integers(0, 2**40), parts=names)
def test_a_seed_fits_a_generator_and_is_always_the_same(seed, parts):
    found = seeding.derive(seed, *parts)
    assert 0 <= found < 2**63
    assert found == seeding.derive(seed, *parts)
    assert found != seeding.derive(seed + 1, *parts)
    assert found != seeding.derive(seed, *parts, "more")


def test_it_is_the_same_in_another_process():
    """Python's own hash is not."""
    code = "from synesthete.seeding import derive; print(derive(3, 'data', 7, 0))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == seeding.derive(3, "data", 7, 0)


def test_neighbouring_steps_are_independent():
    draws = torch.stack([torch.randn(1000, generator=seeding.generator(0, "data", step)) for step in range(50)])
    off = torch.corrcoef(draws) - torch.eye(50)
    assert off.abs().max() < 0.2


@given(num=st.integers(1, 6), first=st.integers(0, 100), seed=st.integers(0, 100))
def test_a_sample_draws_the_same_in_any_batch(num, first, seed):
    batch = seeding.randn((2, 3), seeding.sample_generators(seed, num, first))
    assert batch.shape == (num, 2, 3)
    for i in range(num):
        single = seeding.randn((2, 3), seeding.sample_generators(seed, 1, first + i))
        assert torch.equal(single[0], batch[i])
    assert len({tuple(row.flatten().tolist()) for row in batch}) == num


def test_drawing_leaves_the_global_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    seeding.randn((4,), seeding.sample_generators(0, 2))
    assert torch.equal(torch.rand(3), expected)
