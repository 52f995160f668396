"""Batches as a function of the step, so that training resumes at any step without replaying what came before."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from synesthete import seeding

if TYPE_CHECKING:
    from synesthete.types import Batch


class Samples(Protocol):
    """What can be trained on: a number of samples, and batches of them."""

    def __len__(self) -> int: ...

    def batch(self, indices: torch.Tensor, generator: torch.Generator) -> Batch:
        """The samples at `indices` (B,); whatever is drawn is drawn by `generator`."""
        ...

    def plain(self) -> Samples:
        """The same samples as they are, not augmented."""
        ...


class Steps(Dataset["Batch"]):
    """Item i is the i-th micro-batch of this process; every epoch goes through the samples in a new order.

    A step's samples are cut into world_size * accumulation slots. A slot's draws depend on its number alone, so that
    two processes see what one process with twice the accumulation sees.

    Args:
        batch_size: samples a step, over all slots.
    """

    def __init__(
        self, samples: Samples, batch_size: int, seed: int, *, accumulation: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.accumulation, self.rank, self.world_size = accumulation, rank, world_size
        self.num_slots = accumulation * world_size
        if batch_size % self.num_slots:
            raise ValueError(f"batch of {batch_size} does not divide into {self.num_slots} slots")
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def slot(self, item: int) -> tuple[int, int]:
        """(step, slot) of this process' micro-batch number `item`."""
        step, micro = divmod(item, self.accumulation)
        return step, micro * self.world_size + self.rank

    def __getitem__(self, item: int) -> Batch:
        step, slot = self.slot(item)
        return self.samples.batch(torch.tensor(self.samples_of(item)), seeding.generator(self.seed, "data", step, slot))

    def samples_of(self, item: int) -> list[int]:
        """Which samples micro-batch number `item` of this process is made of."""
        step, slot = self.slot(item)
        size = self.batch_size // self.num_slots
        first = step * self.batch_size + slot * size
        return [self._sample(place) for place in range(first, first + size)]

    def _sample(self, place: int) -> int:
        epoch, index = divmod(place, len(self.samples))
        return int(self._order(epoch)[index])

    def _draw_order(self, epoch: int) -> torch.Tensor:
        return torch.randperm(len(self.samples), generator=seeding.generator(self.seed, "order", epoch))

    def loader(self, first_step: int, num_steps: int, num_workers: int = 0) -> DataLoader[Batch]:
        """The micro-batches of steps first_step to num_steps - 1, in order, a batch an item."""
        items = range(first_step * self.accumulation, num_steps * self.accumulation)
        return DataLoader(self, sampler=items, batch_size=None, num_workers=num_workers)
