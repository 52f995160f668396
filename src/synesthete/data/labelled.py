"""Pictures and the class that each belongs to, alone or paired with spoken words of that class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from synesthete.config.build import shorten
from synesthete.data.files import SPLITS, Split
from synesthete.data.pictures import ClassFolders, Pictures, PictureSource, list_sources
from synesthete.data.samples import ChangesPictures, PictureSources, Samples, picture_batch
from synesthete.data.speech.clips import SHARES, Variation, Words, phrases_by_class
from synesthete.data.speech.corpus import Clips, build_speech_corpus, load_clips
from synesthete.data.speech.engines import OWN_PITCH, Engine, EngineChoice
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import AudioSpec, Batch, InputError, SpokenPictures

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.samples import Augmentation

__all__ = ["ImageSpeechPairs", "ImageSpeechSamples"]

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

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pictures at `indices` (B,), each augmented by its own draw of `generator`."""
        return picture_batch(self, indices, self.told(indices, generator), generator)

    def told(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the conditioner reads of the pictures at `indices` (B,): labels, or a caption, drawn or the first."""
        if self.captions is None:
            return self.labels[indices]
        num, chosen = self.captions.shape[1], torch.zeros_like(indices)
        if generator is not None:
            chosen = torch.randint(num, indices.shape, generator=generator)
        return self.captions[indices, chosen]


class ImageSpeechPairs(LabelledPictures):
    """Pictures of things, and many voices that say what the things are called.

    Any picture of a class goes with any clip of that class. Pictures are split into train and test, voices into train,
    classifier and test; no split shares a picture or a voice with another.

    Args:
        sources: where the pictures come from. folder: a folder with one folder of pictures a class, one's own, in
            place of the sources and their classes.
        words: class name -> what is said for it, a phrase or several in turn; a class without an entry is called by its
            name. In a recipe also the path of a YAML or JSON file that holds this, or imagenet-10 for the phrases of
            `speech.clips`. None: all by name.
        class_names: the classes, in the order of their numbers; None takes all that the sources have, by name.
        num_samples: length of every clip, in samples at `sample_rate` Hz.
        takes: clips of a word by a voice. rates (words a minute), pitches (0 to 99): drawn evenly between these.
        engine: what speaks; in a recipe also its name, espeak or piper. None: espeak, which needs no download.
        speeds: how many times faster, drawn between these at the same pitch. semitones: how much higher, drawn between
            these at the same duration. None leaves either out. shares: of the clips with neither, with another speed,
            with another pitch, and with both.
        allow_few_targets: use a corpus of too few different sounds, which is refused otherwise (`plan.few_targets`).
        augmentation: of training pictures; None leaves them as they are.
        limit: keep only so many pictures and clips of each split, to overfit on purpose.
        max_pixels: of a picture; one of more is skipped, and not decoded.
    """

    def __init__(
        self,
        sources: PictureSources,
        class_names: tuple[str, ...] | None = None,
        words: Words = None,
        num_samples: int = 72_000,
        sample_rate: int = 24_000,
        takes: int = 12,
        rates: tuple[int, int] = (130, 190),
        pitches: tuple[int, int] = (30, 70),
        augmentation: ChangesPictures | None = None,
        limit: int | None = None,
        seed: int = 0,
        folder: str | None = None,
        engine: EngineChoice = None,
        speeds: tuple[float, float] | None = None,
        semitones: tuple[float, float] | None = None,
        shares: tuple[float, float, float, float] = SHARES,
        allow_few_targets: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(
            sources, class_names, augmentation, limit, seed, folder, num_classifier=0, max_pixels=max_pixels
        )
        self._words = words
        self.num_samples, self.spec = num_samples, AudioSpec(sample_rate=sample_rate)
        self.takes, self.rates, self.pitches = takes, rates, pitches
        self.engine: Engine | None = engine
        self.variation, self.allow_few_targets = Variation(speeds, semitones, shares), allow_few_targets

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Every phrase that is said for each class."""
        return phrases_by_class(self.class_names, self._words)

    def build(self, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Speak the corpus into `folder`; what is there already is kept."""
        build_speech_corpus(
            self.words,
            folder,
            seconds=self.num_samples / self.spec.sample_rate,
            takes=self.takes,
            engine=self.engine,
            rates=self.rates,
            pitches=self.pitches,
            variation=self.variation,
            allow_few_targets=self.allow_few_targets,
            spec=self.spec,
            seed=self.seed,
            progress=progress,
        )

    def clips(self, folder: Path, split: str) -> Clips:
        """The clips of a split (train, classifier or test), labels as places in `class_names`.

        Those of voices that kept their own pitch are told so, whatever pitch was drawn.
        """
        clips = load_clips(folder, split, self.spec, num_samples=self.num_samples)
        places = torch.tensor([self.class_names.index(name) for name in clips.class_names])
        own: set[str] = set()
        if engine := self.engine:
            voices = engine.split_voices().get(split, ())
            own = {voice.speaker for voice in voices if engine.keeps_pitch(voice.name)}
        kept = torch.tensor([name in own for name in clips.speakers])
        pitches = None if clips.pitches is None else clips.pitches.masked_fill(kept, OWN_PITCH)
        found = replace(clips, labels=places[clips.labels], class_names=self.class_names, pitches=pitches)
        return found[in_turn(clips.labels, self.seed)[: self.limit].sort().values]


@dataclass
class ImageSpeechSamples(Samples):
    """Encoded clips and preprocessed pictures, in memory or in shards on disk, paired anew for every batch.

    x_0: (m, 1, F, T), of any floating type. clip_labels: (m,). labels: (n,). pictures: (n, C, H, W) uint8, or
    what a frozen encoder saw in them (n, ...) floating, or the labels again for a conditioner that reads these. spoken:
    voice, pitch and rate of the clips, (m,) each as `SpokenPictures` has them; None tells the pictures alone.
    """

    x_0: Tensor | Rows
    clip_labels: Tensor
    pictures: Tensor | Rows
    labels: Tensor
    augmentation: Augmentation | None = None
    spoken: tuple[Tensor, Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        if len(self.x_0) != len(self.clip_labels) or len(self.pictures) != len(self.labels):
            raise ValueError(
                f"{len(self.x_0)} clips with {len(self.clip_labels)} labels, "
                f"{len(self.pictures)} pictures with {len(self.labels)}"
            )
        num_classes = int(max(self.clip_labels.max(), self.labels.max())) + 1
        self._clips = [(self.clip_labels == label).nonzero().flatten() for label in range(num_classes)]
        for label in self.labels.unique().tolist():
            if not len(self._clips[label]):
                raise InputError(f"class number {label}: pictures but no clip; build the corpus with that class")

    def signals(self) -> ImageSpeechSamples:
        """These very samples: of their clips, what was encoded is all that is kept."""
        return self

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pictures at `indices` (B,), each with a clip of its class drawn by `generator`."""
        labels = self.labels[indices]
        draws = torch.rand(len(indices), generator=generator)
        clips = torch.stack(
            [
                self._clips[label][int(draw * len(self._clips[label]))]
                for label, draw in zip(labels.tolist(), draws.tolist(), strict=True)
            ]
        )
        raw: Any = self.pictures[indices]
        if self.augmentation is not None:
            raw = self.augmentation(raw, generator)
        if self.spoken is not None:
            raw = SpokenPictures(raw, *(told[clips] for told in self.spoken))
        return Batch(signal=self.x_0[clips].float(), raw=raw, label=labels, encoded=True)
