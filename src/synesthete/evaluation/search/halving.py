"""Successive halving: few pictures for many settings, more pictures for those that are left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

FACTOR = 3  # Li et al. 2018, section 3.6, recommend 3 or 4
NUM_RUNGS = 3


def rungs_of(num: int, num_rungs: int = NUM_RUNGS, smallest: int = 1) -> tuple[int, ...]:
    """Pictures in each rung, three times as many from one to the next; the last has `num`."""
    return tuple(min(num, max(smallest, round(num / FACTOR**i))) for i in reversed(range(num_rungs)))


def seats(num_candidates: int, num_rungs: int = NUM_RUNGS) -> tuple[int, ...]:
    """How many candidates each rung measures: a third of those before, at least one."""
    return tuple(math.ceil(num_candidates / FACTOR**i) for i in range(num_rungs))


def halve(
    candidates: Sequence[T],
    num_rungs: int,
    measure: Callable[[T, int], None],
    choose: Callable[[list[T], int], list[T]],
) -> list[T]:
    """Those left after the last rung, as `choose` orders them.

    measure(candidate, rung) is called once for every candidate left in a rung. choose(candidates, num) gives at most
    about `num` of them, the best first; it may keep some for reasons of its own.

    Source: Jamieson & Talwalkar 2016, figure 1, with the proportion kept as in Li et al. 2018 (Hyperband), algorithm 1.
    """
    left = list(candidates)
    for rung, following in enumerate([*seats(len(left), num_rungs)[1:], len(left)]):
        for candidate in left:
            measure(candidate, rung)
        left = choose(left, min(following, len(left)))
    return left
