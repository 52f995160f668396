"""Pictures and the class that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from synesthete.config.build import shorten
from synesthete.data.files import SPLITS, Split
from synesthete.data.pictures import ClassFolders, Pictures, PictureSource, list_sources
from synesthete.data.samples import ChangesPictures, PictureSources, Samples, draw_view
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.samples import Augmentation

Part = Literal["train", "classifier", "test"]
PARTS: tuple[Part, ...] = ("train", "classifier", "test")
NO_PICTURES = "no pictures to train on; --set data.folder=FOLDER (a folder of pictures for each class){}"


class LabelledPictures:
    """Pictures of things, split into those to train on, those that only the classifier learns from, and those held out.

    Args:
        sources: where the pictures come from. folder: a folder with one folder of pictures a class, one's own, in
            place of the sources and their classes.
        class_names: the classes, in the order of their numbers; None takes all that the sources have, by name.
        augmentation: of training pictures; None leaves them as they are.
        limit: keep only so many pictures of each split, to overfit on purpose.
        num_classifier: training pictures that are kept from the model for the classifier that evaluates it, as many of
            each class; None takes a fifth of them, 2,000 at most. 0 keeps none: both learn from all.
        max_pixels: of a picture; one of more is skipped, and not decoded.
    """

    def __init__(
        self,
        sources: PictureSources = (),
        class_names: tuple[str, ...] | None = None,
        augmentation: ChangesPictures | None = None,
        limit: int | None = None,
        seed: int = 0,
        folder: str | None = None,
        num_classifier: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.sources: tuple[PictureSource, ...] = sources if folder is None else (ClassFolders(folder),)
        if class_names and folder is None:
            self.class_names = class_names
        self.augmentation: Augmentation | None = augmentation
        self.limit, self.seed, self.num_classifier = limit, seed, num_classifier
        self.max_pixels = max_pixels

    @cached_property
    def _listed(self) -> dict[Split, Pictures]:
        """All pictures of either split."""
        return {split: list_sources(self.sources, split) for split in SPLITS}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers.

        Raises:
            InputError: none were given, and the sources cannot be read or have none.
        """
        found = {label for pictures in self._listed.values() for label in pictures.labels}
        if not found:
            raise InputError(no_pictures(self.sources))
        return tuple(sorted(found))

    @property
    def notes(self) -> list[str]:
        """What the sources have to say of what they found."""
        return self._listed["train"].notes

    def pictures(self, split: Part) -> tuple[Pictures, Tensor]:
        """The pictures of a split, and their labels (n,) as places in `class_names`.

        Raises:
            InputError: no pictures, one of a class that is not among `class_names`, or a class without one.
        """
        pictures = self._listed["test" if split == "test" else "train"]
        if split == "train" and not len(pictures):
            raise InputError(no_pictures(self.sources))
        unknown = sorted(set(pictures.labels) - set(self.class_names))
        if unknown:
            raise InputError(
                f"pictures of class {shorten(unknown[0])}, which data.class_names lacks; add it or remove them"
            )
        labels = torch.tensor([self.class_names.index(name) for name in pictures.labels], dtype=torch.int64)
        if split != "test":
            set_aside = draw_for_classifier(labels, self.num_classifier)
            is_apart = split == "classifier" and self.num_classifier != 0
            chosen = (set_aside if is_apart else ~set_aside).nonzero().flatten()
            pictures, labels = pictures.take(chosen.tolist()), labels[chosen]
        # As many of each class, so that a small limit leaves none without any.
        chosen = in_turn(labels, self.seed)[: self.limit].sort().values
        kept = pictures.take(chosen.tolist())
        kept.max_pixels = self.max_pixels
        if split == "classifier":  # told with the training pictures
            kept.skipped = []
        if split == "train":
            missing = sorted(set(self.class_names) - set(kept.labels))
            if missing:
                raise InputError(
                    f"no training picture of class {shorten(missing[0])}; add some or take it from data.class_names"
                )
        return kept, labels[chosen]


def no_pictures(sources: Sequence[PictureSource]) -> str:
    """What is wrong without any, and the settings that give some: one's own folder, or a file to one of the sources."""
    fields = [f"data.sources.{type(one).__name__.lower()}.path=FILE" for one in sources if hasattr(one, "path")]
    return NO_PICTURES.format("".join(f", or --set {field}" for field in fields))


def draw_for_classifier(labels: Tensor, num_classifier: int | None) -> Tensor:
    """Which (n,) of the training pictures the classifier learns from, as many of each class; None: a fifth or 2,000."""
    num = min(len(labels) // 5, 2000) if num_classifier is None else num_classifier
    if num >= len(labels):
        raise InputError(f"data.num_classifier {num}: of {len(labels)} training pictures; leave some to train on")
    set_aside = torch.zeros(len(labels), dtype=torch.bool)
    set_aside[in_turn(labels, seed=0)[:num]] = True  # whatever a run's seed, the classifier of its rival is as good
    return set_aside


def in_turn(labels: Tensor, seed: int) -> Tensor:
    """All places (n,) in an order drawn by the seed, in which the classes take turns as long as each has some left."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return order[turns(labels[order]).argsort(stable=True)]


def turns(labels: Tensor) -> Tensor:
    """How many of its own class stand before each of these (n,)."""
    found, order = torch.empty_like(labels), labels.argsort(stable=True)
    found[order] = torch.arange(len(labels)) - torch.searchsorted(labels[order], labels[order])
    return found


@dataclass
class PictureSamples(Samples):
    """Pictures with their labels, in memory or in shards on disk.

    pictures: (n, C, H, W) uint8. labels: (n,), which are also what the conditioner reads. x_0: (n, V, c, h, w), V views
    of each, where they were encoded beforehand; a batch takes one of them by chance in place of the augmentation.
    captions: (n, K, L) token ids, of which a batch tells one of each picture in place of its label; None tells that.
    """

    pictures: Tensor | Rows
    labels: Tensor
    augmentation: Augmentation | None = None
    x_0: Tensor | Rows | None = None
    captions: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.labels) or (self.x_0 is not None and len(self.x_0) != len(self.labels)):
            raise ValueError(f"{len(self.pictures)} pictures with {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pictures at `indices` (B,), each augmented by its own draw of `generator`."""
        labels = self.labels[indices]
        raw = self.told(indices, generator)
        if self.x_0 is not None:
            x_0, _ = draw_view(self.x_0, indices, generator)
            return Batch(signal=x_0, raw=raw, label=labels, encoded=True)
        pictures = self.pictures[indices]
        if self.augmentation is not None:
            pictures = self.augmentation(pictures, generator)
        return Batch(signal=pictures, raw=raw, label=labels)

    def told(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the conditioner reads of the pictures at `indices` (B,): labels, or a caption, drawn or the first."""
        if self.captions is None:
            return self.labels[indices]
        num, chosen = self.captions.shape[1], torch.zeros_like(indices)
        if generator is not None:
            chosen = torch.randint(num, indices.shape, generator=generator)
        return self.captions[indices, chosen]
