"""Sounds with the scores they are of, as windows to train on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.config import is_a
from synesthete.data.samples import Samples
from synesthete.types import Batch, InputError, ScoreWindows

if TYPE_CHECKING:
    from synesthete.data.files import Split
    from synesthete.data.scores.performances import Performance

PerformanceSources = tuple[Annotated[Any, is_a("source of sounds with scores", "performances", "names")], ...]
CONTINUED = 0.5  # share of the samples that are told how they begin
SOUNDS, BEGINS = 1, 2  # bits of a packed roll


class ScoredSounds:
    """Performances, of which windows of the codec's length are learned from.

    Args:
        sources: where they come from.
        stride: seconds between the starts of windows; in training each begins up to half of it earlier or later.
        context: the most seconds of a window that are told beforehand, as the end of the one before it is.
        limit: keep only so many performances of each split, to overfit on purpose.

    Attributes:
        notes: lines on what was left out, after `performances`.
    """

    def __init__(
        self,
        sources: PerformanceSources = (),
        stride: float = 2.0,
        context: float = 1.0,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        if not (stride > 0 and context >= 0) or (limit is not None and limit < 1):
            raise InputError(f"data: stride {stride} s, context {context} s, limit {limit}; give a stride above 0")
        self.notes: list[str] = []
        self.sources, self.stride, self.context, self.limit, self.seed = sources, stride, context, limit, seed

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The instruments of all sources, in the order of their numbers.

        Raises:
            InputError: none.
        """
        names = tuple(dict.fromkeys(name for source in self.sources for name in source.names))
        if not names:
            raise InputError("no sounds with scores to train on; give data.sources some")
        return names

    def performances(self) -> dict[Split, list[Performance]]:
        """The performances of each split, in an order that does not depend on where they are from.

        Raises:
            InputError: none, or nothing held out.
        """
        found: dict[Split, list[Performance]] = {"train": [], "test": []}
        every = [one for source in self.sources for one in source.performances()]
        for one in sorted(every, key=lambda one: seeding.derive(self.seed, "order", one.stamp)):
            found[one.split].append(one)
        self.notes = [note for source in self.sources for note in source.notes]
        for split, chosen in found.items():
            if not chosen:
                raise InputError(f"no performance of split {split} among {len(every)}; add pieces")
            found[split] = chosen[: self.limit]
        return found


@dataclass
class PerformanceSamples(Samples):
    """Windows of encoded performances, and the scores of each.

    encoded: x_0 of each performance, (T_i, C, H) float16 on disk; rolls: (T_i, 128) uint8, bit 1 where a pitch sounds,
    bit 2 where it begins. performances, starts: (n,), the performance and first frame of each window of `num_frames`.
    labels: (n,), the instrument. silence: (C, H), what follows where a performance ends. frame_seconds: from one frame
    to the next. names: of the performances. jitter: frames by which a window begins earlier or later, by chance;
    context: the most frames that are known; None: none.
    """

    encoded: tuple[Tensor, ...]
    rolls: tuple[Tensor, ...]
    performances: Tensor
    starts: Tensor
    labels: Tensor
    silence: Tensor
    num_frames: int
    frame_seconds: float
    names: tuple[str, ...] = ()
    jitter: int | None = None
    context: int | None = None
    augmentation: None = None
    x_0: None = None
    augmentations: ClassVar[tuple[str, ...]] = ("jitter",)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def seconds(self) -> float:
        """Of all performances."""
        return sum(len(one) for one in self.encoded) * self.frame_seconds

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The windows at `indices` (B,), moved by chance, half of them with as many frames known as chance will."""
        size, starts = len(indices), self.starts[indices]
        if self.jitter:
            moved = starts + torch.randint(-self.jitter, self.jitter + 1, (size,), generator=generator)
            last = torch.tensor([max(len(self.encoded[i]) - self.num_frames, 0) for i in self.performances[indices]])
            starts = moved.clamp(min=0).minimum(last)
        known = torch.zeros(size, self.num_frames, dtype=torch.bool)
        if self.context:
            num = torch.randint(1, self.context + 1, (size,), generator=generator)
            num = num.where(torch.rand(size, generator=generator) < CONTINUED, 0)
            known = torch.arange(self.num_frames) < num[:, None]
        cut = [self.window(int(i), int(first)) for i, first in zip(self.performances[indices], starts, strict=True)]
        x_0, roll = (torch.stack(parts) for parts in zip(*cut, strict=True))
        labels = self.labels[indices]
        before = x_0 * known[:, None, None]  # what is not known stays unseen whatever reads it
        return Batch(signal=x_0, raw=ScoreWindows(roll, labels, before, known), label=labels, encoded=True)

    def window(self, performance: int, first: int) -> tuple[Tensor, Tensor]:
        """x_0 (C, H, T) float32 and the roll (2, 128, T) uint8 of a performance from a frame on."""
        part = slice(first, first + self.num_frames)
        x_0, roll = self.encoded[performance][part].float(), self.rolls[performance][part]
        missing = self.num_frames - len(x_0)
        if missing:
            x_0 = torch.cat([x_0, self.silence.float().expand(missing, *self.silence.shape)])
            roll = F.pad(roll, (0, 0, 0, missing))
        return x_0.permute(1, 2, 0), unpacked(roll)


def packed(roll: Tensor) -> Tensor:
    """(2, P, T) of 0 and 1 -> (T, P) uint8."""
    sounds, begins = roll.to(torch.uint8)
    return (SOUNDS * sounds + BEGINS * begins).T.contiguous()


def unpacked(roll: Tensor) -> Tensor:
    """The inverse of `packed`, uint8."""
    return torch.stack([(roll & SOUNDS).bool(), (roll & BEGINS).bool()]).to(torch.uint8).transpose(1, 2)


def place_windows(num_total: int, num_frames: int, stride: int) -> Tensor:
    """Where windows begin in a performance, `stride` apart, the last where a window ends with it."""
    last = max(num_total - num_frames, 0)
    starts = torch.arange(0, last + 1, stride)
    return starts if int(starts[-1]) == last else torch.cat([starts, torch.tensor([last])])
