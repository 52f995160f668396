"""Tensors on disk, indexed like one in memory: rows in shards, computed once, and pieces of recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.audio import to_int16
from synesthete.data.streaming import StreamedShards
from synesthete.data.waveforms import LEVELS_PER_SECOND, measure_energy
from synesthete.executors import divide_ahead
from synesthete.io import load_or_compute
from synesthete.worklist import Worklist


class Rows:
    """Shards (n_i, ...) as one tensor (n, ...) that is never whole in memory: an index reads the rows it names.

    Args:
        shards: tensors of one shape but for their length, memory-mapped as `load_or_compute` reads them, or fetched
            when they are asked for.
        chosen: the rows that are counted, in their order; None counts all.
    """

    def __init__(self, shards: Sequence[Tensor], chosen: Tensor | None = None) -> None:
        self.shards = shards if isinstance(shards, StreamedShards) else tuple(shards)
        lengths = torch.tensor(shards.lengths if isinstance(shards, StreamedShards) else [*map(len, shards)])
        self._starts = lengths.cumsum(0) - lengths
        self._chosen = torch.arange(int(lengths.sum())) if chosen is None else chosen
        self.dtype = self.shards[0].dtype
        self.shape = torch.Size((len(self._chosen), *self.shards[0].shape[1:]))

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Tensor:
        """Rows by number, slice, numbers (b,) or mask (n,), copied into memory."""
        rows = self._chosen[index].contiguous()
        return self._read(rows.reshape(-1)).reshape(*rows.shape, *self.shape[1:])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows (n, ...), `size` of them at a time, in memory as long as they are looked at."""
        return (self[first : first + size] for first in range(0, len(self), size))

    def take(self, rows: Tensor) -> Rows:
        """These rows alone, by number or mask; nothing is read."""
        return Rows(self.shards, self._chosen[rows])

    def streamed(self) -> Tensor | None:
        """In which shard each row is (n,), where shards are fetched; None where any order is as good."""
        if not isinstance(self.shards, StreamedShards):
            return None
        return torch.searchsorted(self._starts, self._chosen, right=True) - 1

    def follow(self, windows: Tensor) -> None:
        """Be read window by window, as `StreamedShards.follow`, where shards are fetched."""
        if isinstance(self.shards, StreamedShards):
            self.shards.follow(windows)

    def _read(self, rows: Tensor) -> Tensor:
        where = torch.searchsorted(self._starts, rows, right=True) - 1
        if isinstance(self.shards, StreamedShards):
            gathered = self.shards.gather(where, rows - self._starts[where])
            if gathered is not None:
                return gathered
        read = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        where, order = where.sort()
        numbers, counts = where.unique_consecutive(return_counts=True)
        inside = (rows[order] - self._starts[where]).split(counts.tolist())
        # Not joined first: torch.cat of float16 fails within a processor's autocast.
        for number, places, rest in zip(numbers.tolist(), order.split(counts.tolist()), inside, strict=True):
            read[places] = self.shards[number][rest]
        return read


def compute_rows(
    num: int,
    size: int,
    path_of: Callable[[int, Tensor], Path],
    compute: Callable[[Tensor], Tensor],
    report: Callable[[int, int], None] = lambda done, total: None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    step: str | None = None,
) -> Rows:
    """compute(places) of `num` items, `size` of them a shard, each shard kept on disk: a killed run goes on.

    path_of(number, places): the shard's file, whose name has to change with whatever decides its values. report(done,
    total) in items. around: is entered while a shard is read or computed, as the turn of one process among many.
    step: under which the files are listed as a worklist.
    """
    shards = []
    jobs = [(path_of(number, places), places) for number, places in enumerate(torch.arange(num).split(size))]
    making: Callable[[Path], AbstractContextManager[object]] = nullcontext
    if step:
        worklist = Worklist(jobs[0][0].parent, step, [path for path, _ in jobs])
        divide_ahead(partial(_make, compute), {job[0]: job for job in jobs}, "network", worklist.fail)
        making = worklist.making
    for path, places in jobs:
        with around(), making(path):
            kept = load_or_compute(path, partial(_values, compute, places))
        shards.append(kept["values"])
        report(int(places[-1]) + 1, num)
    return Rows(shards)


def _make(compute: Callable[[Tensor], Tensor], job: tuple[Path, Tensor]) -> None:
    path, places = job
    load_or_compute(path, partial(_values, compute, places))


def _values(compute: Callable[[Tensor], Tensor], places: Tensor) -> dict[str, Tensor]:
    return {"values": compute(places)}


class Pieces:
    """Pieces of recordings as one tensor (n, S) int16 that is never whole in memory; an index reads those it names.

    Args:
        sounds: recordings (N_i,) int16, memory-mapped. recordings: (n,), which of them each piece is of.
        starts: (n,), the place of each piece's first sample. num_samples: S; silence follows a recording's end.
    """

    def __init__(self, sounds: Sequence[Tensor], recordings: Tensor, starts: Tensor, num_samples: int) -> None:
        self.sounds, self.recordings, self.starts = tuple(sounds), recordings, starts
        self.dtype, self.shape = torch.int16, torch.Size((len(starts), num_samples))

    @staticmethod
    def of(waveforms: Tensor) -> Pieces:
        """Waveforms (n, S) int16 in memory, each a recording of its own."""
        num, num_samples = waveforms.shape
        return Pieces(list(waveforms), torch.arange(num), torch.zeros(num, dtype=torch.int64), num_samples)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Tensor:
        """Pieces by number, slice, numbers (b,) or mask (n,), copied into memory."""
        places = torch.arange(len(self))[index]
        if places.ndim == 0:
            return self.cut(int(places))
        read = torch.empty((len(places), self.shape[1]), dtype=self.dtype)
        for row, place in enumerate(places.tolist()):
            read[row] = self.cut(place)
        return read

    @property
    def num_covered(self) -> int:
        """Samples of the recordings that are in a piece, those in several counted once."""
        order = self.starts.argsort(stable=True)
        order = order[self.recordings[order].argsort(stable=True)]
        which, begins = self.recordings[order], self.starts[order].clone()
        lengths = torch.tensor([len(sound) for sound in self.sounds], dtype=torch.int64)
        ends = torch.minimum(begins + self.shape[1], lengths[which])
        overlaps = which[1:] == which[:-1]
        begins[1:] = torch.where(overlaps, torch.maximum(begins[1:], ends[:-1]), begins[1:])
        return int((ends - begins).sum())

    def take(self, places: Tensor) -> Pieces:
        """These pieces alone, by number or mask; nothing is read."""
        return Pieces(self.sounds, self.recordings[places], self.starts[places], self.shape[1])

    def cut(self, place: int, offset: int = 0, num_samples: int | None = None) -> Tensor:
        """(num_samples,) int16 of a piece's recording from `offset` samples after its start; silence where none is."""
        sound = self.sounds[int(self.recordings[place])]
        num = self.shape[1] if num_samples is None else num_samples
        first = int(self.starts[place]) + offset
        part = sound[max(first, 0) : max(first + num, 0)]
        before = min(max(-first, 0), num)
        return F.pad(part, (before, num - before - len(part)))


def cut_starts(num_samples: int, length: int, stride: int) -> list[int]:
    """Where pieces of `length` begin in a recording of `num_samples`, `stride` apart.

    The last one may reach beyond the end if half of it or more lies before, or if it is the only one.
    """
    starts = list(range(0, max(num_samples - length, 0) + 1, stride))
    end = starts[-1] + length
    following = starts[-1] + stride
    if end < num_samples and num_samples - following >= length / 2:
        starts.append(following)
    return starts


def loudest_start(energy: Tensor, num_samples: int, length: int, hop: int) -> int:
    """Where the loudest `length` of a recording of `num_samples` begins, to a `hop`; the first of several.

    energy: (t,) of every `hop` samples, as `waveforms.measure_energy` measures it.
    """
    if num_samples <= length:
        return 0
    summed = F.pad(energy.double().cumsum(0), (1, 0))
    width = max(1, length // hop)
    return min(int((summed[width:] - summed[:-width]).argmax()) * hop, num_samples - length)


def loudest_stretch(waveform: Tensor, length: int, sample_rate: int) -> Tensor:
    """The loudest `length` samples of (S,) in [-1, 1]; all of it where it is no longer."""
    energy = torch.from_numpy(measure_energy(to_int16(waveform).numpy(), sample_rate))
    first = loudest_start(energy, len(waveform), length, sample_rate // LEVELS_PER_SECOND)
    return waveform[first : first + length]
