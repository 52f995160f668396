"""Which samples are looked at: drawn once and for all by a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete import seeding

if TYPE_CHECKING:
    from torch import Tensor


def first_of_each(labels: Tensor) -> Tensor:
    """The place of the first sample of each class that has one."""
    return torch.stack([(labels == label).nonzero().flatten()[0] for label in labels.unique()])


def drawn(num_there: int, num: int, seed: int, what: str) -> Tensor:
    """At most `num` of `num_there` places, in an order drawn once and for all."""
    return torch.randperm(num_there, generator=seeding.generator(seed, what))[:num]


def shuffled(num: int, seed: int) -> Tensor:
    """For each of `num` samples another one: a random permutation that leaves none in its place."""
    order = torch.randperm(num, generator=seeding.generator(seed, "shuffled"))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other
