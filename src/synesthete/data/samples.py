"""What is trained on: samples by number, and batches of them as a function of the step.

So training resumes at any step without replaying what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from synesthete import seeding
from synesthete.config import is_a
from synesthete.data.augmentation import FlipCrop
from synesthete.data.rows import Rows
from synesthete.data.streaming import draw_windows
from synesthete.nn.part import autocast
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from synesthete.nn.part import Precision

    # Pictures (B, C, H, W) uint8 -> the same, each changed by its own draw.
    Augmentation = Callable[[Tensor, torch.Generator], Tensor]

__all__ = ["Samples", "Steps"]

# What fields of a recipe can be set to.
PictureSources = tuple[Annotated[Any, is_a("source of pictures", "pictures")], ...]
RecordingSources = tuple[Annotated[Any, is_a("source of recordings", "recordings")], ...]
PairSources = tuple[Annotated[Any, is_a("source of pictures or sounds", "pairs")], ...]
ChangesPictures = Annotated[Any, is_a("augmentation of pictures", takes=2)]
ChangesSounds = Annotated[Any, is_a("augmentation of sounds", takes=4)]


class Samples:
    """What can be trained on: a number of samples, and batches of them. Kinds of samples are dataclasses.

    Attributes:
        labels: (n,) int64, the class of each.
        augmentation: of training samples; None leaves them as they are.
        x_0: (n, V, ...), V views of each, where they were encoded beforehand; the first is of the sample as it is.
        augmentations: names of the fields that `plain` takes away.
    """

    labels: Tensor
    augmentation: Any
    x_0: Tensor | Rows | None
    augmentations: ClassVar[tuple[str, ...]] = ("augmentation",)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The samples at `indices` (B,); whatever is drawn is drawn by `generator`."""
        raise NotImplementedError

    def streamed(self) -> Tensor | None:
        """In which shard each sample is (n,), where shards are fetched; None where any order is as good."""
        return next((shards for one in self._columns() if (shards := one.streamed()) is not None), None)

    def follow(self, windows: Tensor) -> None:
        """Have the shards that are fetched read window by window, as `StreamedShards.follow`."""
        for column in self._columns():
            column.follow(windows)

    def _columns(self) -> list[Rows]:
        return [one for one in vars(self).values() if isinstance(one, Rows) and len(one) == len(self)]

    @property
    def is_mirrored(self) -> bool:
        """Whether training shows pictures as their mirror images too."""
        return isinstance(self.augmentation, FlipCrop) and self.augmentation.flip > 0

    def plain(self) -> Self:
        """The same samples as they are, not augmented."""
        return replace(self, **dict.fromkeys(self.augmentations))  # type: ignore[type-var]

    def signals(self) -> Self:
        """The same samples without what was encoded: batches of signals, for a codec that is being trained."""
        return replace(self, x_0=None)  # type: ignore[type-var]

    def view(self, places: Tensor, number: int) -> Tensor:
        """One view of the signals at `places` (B,): 0 as they are, any other augmented, the same each time."""
        generator = seeding.generator(0, "view", number, int(places[0]))
        return (self if number else self.plain()).signals().batch(places, generator).signal

    def encode(
        self,
        codec: Any,
        places: Tensor,
        num_views: int,
        *,
        at_once: int,
        device: torch.device | str = "cpu",
        precision: Precision = "no",
    ) -> Tensor:
        """x_0 (B, num_views, ...) of the signals at `places` (B,), in half precision, `at_once` at a time.

        precision: of the matrix products of a codec that is a network.
        """

        def encode(part: Tensor) -> Tensor:
            with autocast(torch.device(device), precision):
                x_0 = codec.encode(part.to(device))
            return x_0.half().cpu()

        views = [
            torch.cat([encode(part) for part in self.view(places, number).split(at_once)])
            for number in range(num_views)
        ]
        return torch.stack(views, dim=1)

    def class_weights(self) -> Tensor | None:
        """A weight for the loss of each class (classes,); None where the samples are not counted by class."""
        return None

    def with_captions(self, templates: Sequence[str]) -> Self:
        """The same, of whose captions only those made from some of the templates are told.

        Raises:
            InputError: a template that these were not captioned with, or none.
        """
        raise InputError(f"stage captions for {type(self).__name__}, which have none; leave them null")


def draw_view(x_0: Tensor | Rows, places: Tensor, generator: torch.Generator, num_views: int | None = None) -> Any:
    """One of the first `num_views` views (None: of all) of each of the places (B,): x_0 (B, ...), and which (B,)."""
    views = x_0[places]
    chosen = torch.randint(num_views or views.shape[1], (len(views),), generator=generator)
    return views[torch.arange(len(views)), chosen].float(), chosen


def picture_batch(samples: Any, places: Tensor, raw: Any, generator: torch.Generator) -> Batch:
    """The pictures at some places (B,): one of the views that were encoded, or themselves augmented, each by a draw."""
    labels = samples.labels[places]
    if samples.x_0 is not None:
        return Batch(signal=draw_view(samples.x_0, places, generator)[0], raw=raw, label=labels, encoded=True)
    pictures = samples.pictures[places]
    if samples.augmentation is not None:
        pictures = samples.augmentation(pictures, generator)
    return Batch(signal=pictures, raw=raw, label=labels)


class Steps(Dataset["Batch"]):
    """Item i is the i-th micro-batch of this process; every epoch goes through the samples in a new order.

    The order is a function of seed and epoch alone: of all samples, or where their shards are fetched, of shards, and
    of the samples of WINDOW shards at a time.

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
        generator = seeding.generator(self.seed, "order", epoch)
        order = torch.randperm(len(self.samples), generator=generator)
        shards = self.samples.streamed() if isinstance(self.samples, Samples) else None
        if shards is None:
            return order
        windows = draw_windows(int(shards.max()) + 1, generator)
        self.samples.follow(windows)
        return order[windows[shards[order]].argsort(stable=True)]

    def loader(self, first_step: int, num_steps: int, num_workers: int = 0) -> DataLoader[Batch]:
        """The micro-batches of steps first_step to num_steps - 1, in order, a batch an item."""
        items = range(first_step * self.accumulation, num_steps * self.accumulation)
        return DataLoader(self, sampler=items, batch_size=None, num_workers=num_workers)
