"""Pictures paired with spoken words of the same class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.data.labelled import LabelledPictures, in_turn
from synesthete.data.samples import ChangesPictures, PictureSources, Samples
from synesthete.data.speech.clips import SHARES, Variation
from synesthete.data.speech.corpus import Clips, build_speech_corpus, load_clips
from synesthete.data.speech.engines import OWN_PITCH, Engine, EngineChoice
from synesthete.data.speech.phrases import Words, phrases_by_class
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import AudioSpec, Batch, InputError, SpokenPictures

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.samples import Augmentation

__all__ = ["ImageSpeechPairs", "ImageSpeechSamples"]


class ImageSpeechPairs(LabelledPictures):
    """Pictures of things, and many voices that say what the things are called.

    Any picture of a class goes with any clip of that class. Pictures are split into train and test, voices into train,
    classifier and test; no split shares a picture or a voice with another.

    Args:
        sources: where the pictures come from. folder: a folder with one folder of pictures a class, one's own, in
            place of the sources and their classes.
        words: class name -> what is said for it, a phrase or several in turn; a class without an entry is called by its
            name. In a recipe also the path of a YAML or JSON file that holds this, or imagenet-10 for the phrases of
            `speech.phrases`. None: all by name.
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

    def __len__(self) -> int:
        return len(self.pictures)

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
