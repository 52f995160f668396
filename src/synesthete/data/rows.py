"""Tensors in several memory-mapped files, indexed like one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
