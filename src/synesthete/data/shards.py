"""Rows in shards on disk: written whole, read back through memory mapping, indexed like one tensor."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from synesthete.logs import DETAIL
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

logger = logging.getLogger(__name__)


class Rows:
    """Shards (n_i, ...) as one tensor (n, ...) that is never whole in memory: an index reads the rows it names.

    Args:
        shards: tensors of one shape but for their length, memory-mapped as `keep` reads them.
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


def keep(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in a file, memory-mapped; made and written (beside, then renamed) where it is missing or damaged.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    if path.is_file():
        try:
            return load_file(path)
        except (SafetensorError, OSError):
            logger.info("%s: damaged, made again", path)
    unfinished = path.with_name(f".{path.name}.partial")
    tensors = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished)
        os.replace(unfinished, path)
        logger.log(DETAIL, "%s: written", path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error}); free some space and run again") from None
