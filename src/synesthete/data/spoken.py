"""Pictures paired with spoken words of the same class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.pictures import Pictures, read_source
from synesthete.data.speech.clips import Clips, load_clips
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.types import AudioSpec, Batch, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.data.augmentation import Affine
    from synesthete.data.pictures import PictureSource, Split


class SpokenPictures:
    """Pictures of things, and many voices that say what the things are called.

    Any picture of a class goes with any clip of that class. Pictures are split into train and test, voices into train,
    judge and test; no split shares a picture or a voice with another.

    Args:
        sources: where the pictures come from.
        words: class name -> what is said for it; a class without an entry is called by its name. None: all by name.
        class_names: the classes, in the order of their numbers.
        num_samples: length of every clip, in samples at `sample_rate` Hz.
        takes: clips of a word by a voice. rates (words a minute), pitches (0 to 99): drawn evenly between these.
        augmentation: of training pictures; None leaves them as they are.
        limit: keep only so many pictures and clips of each split, to overfit on purpose.
    """

    def __init__(
        self,
        sources: tuple[Any, ...],
        class_names: tuple[str, ...],
        words: dict[str, str] | None = None,
        num_samples: int = 72_000,
        sample_rate: int = 24_000,
        takes: int = 12,
        rates: tuple[int, int] = (130, 190),
        pitches: tuple[int, int] = (30, 70),
        augmentation: Any = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self.sources: tuple[PictureSource, ...] = sources
        self.class_names, self.words = class_names, words or {}
        self.num_samples, self.spec = num_samples, AudioSpec(sample_rate=sample_rate)
        self.takes, self.rates, self.pitches = takes, rates, pitches
        self.augmentation: Affine | None = augmentation
        self.limit, self.seed = limit, seed

    def build(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Speak the corpus into `folder`; what is there already is kept.

        Raises:
            InputError: as `build_speech_corpus`.
        """
        build_speech_corpus(
            {name: self.words.get(name, name) for name in self.class_names},
            folder,
            seconds=self.num_samples / self.spec.sample_rate,
            takes=self.takes,
            rates=self.rates,
            pitches=self.pitches,
            spec=self.spec,
            seed=self.seed,
            progress=progress,
        )

    def clips(self, folder: Path, split: str) -> Clips:
        """The clips of a split (train, judge or test), labels as places in `class_names`."""
        clips = load_clips(folder, split, self.spec, num_samples=self.num_samples)
        places = torch.tensor([self.class_names.index(name) for name in clips.class_names])
        chosen = self._limited(clips.labels)
        speakers = [clips.speakers[i] for i in chosen.tolist()]
        return Clips(clips.waveforms[chosen], places[clips.labels[chosen]], self.class_names, speakers, clips.skipped)

    def pictures(self, split: Split) -> tuple[Pictures, Tensor]:
        """The pictures of a split, and their labels (n,) as places in `class_names`.

        Raises:
            InputError: a class that is not among `class_names`, or a class without a picture.
        """
        pictures = read_source(self.sources, split)
        unknown = sorted(set(pictures.labels) - set(self.class_names))
        if unknown:
            raise InputError(f"pictures of class {unknown[0]!r}, which data.class_names lacks; add it or remove them")
        labels = torch.tensor([self.class_names.index(name) for name in pictures.labels], dtype=torch.int64)
        chosen = self._limited(labels)
        kept = Pictures(
            [pictures.images[i] for i in chosen.tolist()],
            [pictures.labels[i] for i in chosen.tolist()],
            pictures.skipped,
        )
        if split == "train":
            missing = sorted(set(self.class_names) - set(kept.labels))
            if missing:
                raise InputError(
                    f"no training picture of class {missing[0]!r}; add some or take it from data.class_names"
                )
        return kept, labels[chosen]

    def _limited(self, labels: Tensor) -> Tensor:
        """Which of the samples to keep: as many of each class, so that a small limit leaves none without any."""
        if self.limit is None or len(labels) <= self.limit:
            return torch.arange(len(labels))
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.seed))
        turn = torch.zeros_like(labels)
        for label in labels.unique():
            places = (labels[order] == label).nonzero().flatten()
            turn[places] = torch.arange(len(places))
        return order[turn.argsort(stable=True)[: self.limit]].sort().values


@dataclass
class PairedSamples:
    """Encoded clips and preprocessed pictures in memory, paired anew for every batch.

    x_0: (m, 1, F, T), of any floating type. clip_labels: (m,). picture_labels: (n,). pictures: (n, C, H, W) uint8, or
    the labels again for a conditioner that reads these.
    """

    x_0: Tensor
    clip_labels: Tensor
    pictures: Tensor
    picture_labels: Tensor
    augmentation: Affine | None = None

    def __post_init__(self) -> None:
        if len(self.x_0) != len(self.clip_labels) or len(self.pictures) != len(self.picture_labels):
            raise ValueError(
                f"{len(self.x_0)} clips with {len(self.clip_labels)} labels, "
                f"{len(self.pictures)} pictures with {len(self.picture_labels)}"
            )
        num_classes = int(max(self.clip_labels.max(), self.picture_labels.max())) + 1
        self._clips = [(self.clip_labels == label).nonzero().flatten() for label in range(num_classes)]
        for label in self.picture_labels.unique().tolist():
            if not len(self._clips[label]):
                raise InputError(f"class number {label}: pictures but no clip; build the corpus with that class")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pictures at `indices` (B,), each with a clip of its class drawn by `generator`."""
        labels = self.picture_labels[indices]
        draws = torch.rand(len(indices), generator=generator)
        clips = torch.stack(
            [
                self._clips[label][int(draw * len(self._clips[label]))]
                for label, draw in zip(labels.tolist(), draws.tolist(), strict=True)
            ]
        )
        raw = self.pictures[indices]
        if self.augmentation is not None:
            raw = self.augmentation(raw, generator)
        return Batch(signal=self.x_0[clips].float(), raw=raw, label=labels, encoded=True)
