"""Batches are a function of the step, so that a run goes on anywhere and any number of processes sees the same."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.data.samples import Steps


class Numbers:
    """Samples that are their own index, with a number drawn beside."""

    def __init__(self, num):
        self.num = num

    def __len__(self):
        return self.num

    def batch(self, indices, generator):
        return indices, torch.rand(len(indices), generator=generator)


def steps(num=40, batch_size=8, seed=0, **settings) -> Steps:
    return Steps(Numbers(num), batch_size, seed, **settings)


def collect(made: Steps, first: int, last: int, **settings):
    return [(indices.tolist(), drawn.tolist()) for indices, drawn in made.loader(first, last, **settings)]


def test_every_epoch_visits_each_sample_once_in_another_order():
    batches = [indices for indices, _ in collect(steps(), 0, 15)]
    epochs = [list(chain(*batches[5 * i : 5 * i + 5])) for i in range(3)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != list(range(40))


@given(num=st.integers(1, 50), slot=st.integers(1, 9), num_steps=st.integers(1, 12))
def test_also_where_batches_do_not_divide_the_epoch(num, slot, num_steps):
    seen = list(chain(*(indices for indices, _ in collect(steps(num, slot), 0, num_steps))))
    assert len(seen) == slot * num_steps
    counts = torch.bincount(torch.tensor(seen), minlength=num)
    assert counts.max() - counts.min() <= 1


@given(first=st.integers(0, 11), num=st.integers(5, 50), accumulation=st.sampled_from([1, 2, 4]))
def test_begun_at_any_step_it_gives_what_it_would_have_given(first, num, accumulation):
    whole = collect(steps(num, accumulation=accumulation), 0, 12)
    assert collect(steps(num, accumulation=accumulation), first, 12) == whole[first * accumulation :]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_workers_give_the_same(num_workers):
    assert collect(steps(), 2, 6, num_workers=num_workers) == collect(steps(), 0, 6)[2:]


@given(world_size=st.sampled_from([1, 2, 4]), accumulation=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_processes_together_see_what_one_sees_that_accumulates(world_size, accumulation, seed):
    """Samples and draws, slot by slot; two processes are one that accumulates twice."""
    alone = collect(steps(seed=seed, accumulation=world_size * accumulation), 0, 7)
    ranks = [
        collect(steps(seed=seed, accumulation=accumulation, rank=rank, world_size=world_size), 0, 7)
        for rank in range(world_size)
    ]
    together = [batch for micro in zip(*ranks, strict=True) for batch in micro]
    assert together == alone


def test_a_step_holds_the_same_samples_however_it_is_cut():
    whole, halves = collect(steps(), 0, 5), collect(steps(accumulation=2), 0, 5)
    for step in range(5):
        assert whole[step][0] == halves[2 * step][0] + halves[2 * step + 1][0]


def test_another_seed_is_another_order_and_other_draws():
    ours, theirs = collect(steps(), 0, 1), collect(steps(seed=1), 0, 1)
    assert ours[0][0] != theirs[0][0]
    assert ours[0][1] != theirs[0][1]
    drawn = [tuple(numbers) for _, numbers in collect(steps(), 0, 20)]
    assert len(set(drawn)) == 20  # anew at every step


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 8 does not divide into 3 slots"):
        steps(accumulation=3)
