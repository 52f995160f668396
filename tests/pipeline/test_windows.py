"""Which windows are made: every unknown frame once, in order, next to what is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.pipeline.canvas import Frames, find_overlap, plan, unknown_stretches
from synesthete.types import InputError

FRAMES = Frames(num=44, whole=40, edge=2, hop=16, sample_rate=4_000)
OVERLAP = 10


def check(known: torch.Tensor, *, is_loop: bool = False, overlap: int = OVERLAP) -> list:
    total, made = len(known), known.clone()
    windows = plan(known, FRAMES, overlap, is_loop=is_loop)
    for start, first, end in windows:
        assert start <= first < end <= start + FRAMES.whole
        assert is_loop or 0 <= start <= total - FRAMES.whole
        new = torch.arange(first, end) % total
        assert not made[new].any()  # no frame is made twice, none that was given
        inside = torch.arange(start, start + FRAMES.whole) % total
        assert len(inside.unique()) == FRAMES.whole
        if made.any() and (is_loop or first):  # it hears what comes before
            assert made[torch.arange(first - min(overlap, first - start), first) % total].all()
            assert first - start >= (overlap if is_loop else min(overlap, first))
        made[new] = True
    assert made.all()
    return windows


@given(st.integers(40, 300), st.integers(1, 18))
def test_from_nothing(total, overlap):
    windows = check(torch.zeros(total, dtype=torch.bool), overlap=overlap)
    least = -(-(total - FRAMES.whole) // (FRAMES.whole - FRAMES.edge - overlap)) + 1
    assert len(windows) <= least
    assert windows[-1].start == total - FRAMES.whole  # the last one's own end is the sound's
    assert all(window.end <= window.start + FRAMES.whole - FRAMES.edge for window in windows[:-1])


@given(st.integers(40, 300), st.integers(1, 18))
def test_a_loop_from_nothing(total, overlap):
    windows = check(torch.zeros(total, dtype=torch.bool), is_loop=True, overlap=overlap)
    last = windows[-1]
    assert len(windows) >= 2
    assert last.end > total  # its beginning, which was an edge, is made again
    assert last.start + FRAMES.whole - last.end >= overlap  # and it reaches into what follows


@given(st.integers(40, 200), st.data())
def test_a_gap(total, data):
    first = data.draw(st.integers(0, total - 1))
    end = data.draw(st.integers(first + 1, total))
    known = torch.ones(total, dtype=torch.bool)
    known[first:end] = False
    windows = check(known)
    if end - first <= FRAMES.whole - 2 * OVERLAP:
        [window] = windows  # with as much around it on either side as there is
        before, after = first - window.start, window.start + FRAMES.whole - end
        assert min(before, after) >= min(OVERLAP, first, total - end)
        if min(first, total - end) >= FRAMES.whole:
            assert abs(before - after) <= 1
    assert windows[-1].start + FRAMES.whole - end >= min(OVERLAP, total - end)  # the last one hears what comes after


@given(st.integers(40, 200), st.data())
def test_a_loop_that_goes_on_after_something(total, data):
    given = data.draw(st.integers(2 * FRAMES.edge + 1, total - 1))
    known = torch.zeros(total, dtype=torch.bool)
    known[FRAMES.edge : given] = True
    [(first, end)] = unknown_stretches(known, is_loop=True)
    assert (first, end) == (given, total + FRAMES.edge)
    made = known.clone()
    for window in plan(known, FRAMES, OVERLAP, is_loop=True):
        new = torch.arange(window.first, window.end) % total
        assert not made[new].any()
        made[new] = True
    assert made.all()


def test_nothing_is_made_where_all_is_known():
    assert plan(torch.ones(50, dtype=torch.bool), FRAMES, OVERLAP) == []


def test_overlap_is_asked_for_in_seconds():
    assert find_overlap(FRAMES) == 10
    assert find_overlap(FRAMES, 0.06) == 15
    for seconds in (0.0, -1.0, 0.1):
        with pytest.raises(InputError, match=r"overlap .* s: give 0.004 to 0.072 s, under half"):
            find_overlap(FRAMES, seconds)
