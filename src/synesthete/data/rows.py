"""Tensors in several memory-mapped files, indexed like one, and computed once."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete.io import load_or_compute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from torch import Tensor


class Rows:
    """Shards (n_i, ...) as one tensor (n, ...) that is never whole in memory: an index reads the rows it names.

    Args:
        shards: tensors of one shape but for their length, memory-mapped as `load_or_compute` reads them.
        chosen: the rows that are counted, in their order; None counts all.
    """

    def __init__(self, shards: Sequence[Tensor], chosen: Tensor | None = None) -> None:
        self.shards = tuple(shards)
        lengths = torch.tensor([len(shard) for shard in self.shards])
        self._starts = lengths.cumsum(0) - lengths
        self._chosen = torch.arange(int(lengths.sum())) if chosen is None else chosen
        self.dtype = self.shards[0].dtype
        self.shape = torch.Size((len(self._chosen), *self.shards[0].shape[1:]))

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Tensor:
        """Rows by number, slice, numbers (b,) or mask (n,), copied into memory."""
        rows = self._chosen[index].contiguous()
        if rows.ndim == 0:
            return self._read(rows[None])[0]
        return self._read(rows)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def take(self, rows: Tensor) -> Rows:
        """These rows alone, by number or mask; nothing is read."""
        return Rows(self.shards, self._chosen[rows])

    def _read(self, rows: Tensor) -> Tensor:
        read = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        where = torch.searchsorted(self._starts, rows, right=True) - 1
        for number in where.unique().tolist():
            mine = (where == number).nonzero().flatten()
            read[mine] = self.shards[number][rows[mine] - self._starts[number]]
        return read


def compute_rows(
    num: int,
    size: int,
    path_of: Callable[[int, Tensor], Path],
    compute: Callable[[Tensor], Tensor],
    report: Callable[[int, int], None] = lambda done, total: None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Rows:
    """compute(places) of `num` items, `size` of them a shard, each shard kept on disk: a killed run goes on.

    path_of(number, places): the shard's file, whose name has to change with whatever decides its values. report(done,
    total) in items. around: is entered while a shard is read or computed, as the turn of one process among many.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    shards = []
    for number, places in enumerate(torch.arange(num).split(size)):
        with around():
            shards.append(load_or_compute(path_of(number, places), partial(_values, compute, places))["values"])
        report(int(places[-1]) + 1, num)
    return Rows(shards)


def _values(compute: Callable[[Tensor], Tensor], places: Tensor) -> dict[str, Tensor]:
    return {"values": compute(places)}
