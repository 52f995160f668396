"""What a way of sampling is worth: the same samples again under other settings, classified, compared and timed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.distribution import (
    balanced_floor,
    balanced_kernel,
    diversity,
    kernel_floor,
    precision_recall,
)
from synesthete.evaluation.metrics.set_comparison import CHUNK, NEIGHBOURS, features_of
from synesthete.evaluation.samples import generate_timed
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image
    from torch import Tensor

    from synesthete.pipeline import Pipeline

    Progress = Callable[[int, int], None]

BATCH_SIZE = 64
FIGURES = ("accuracy", "kid", "kid_floor", "precision", "recall", "diversity", "seconds_per_picture")


@dataclass(frozen=True)
class ScoringBasis:
    """What a model's samples are scored by; a task gives one for a model of its kind.

    samples: real held-out ones (m, ...), in memory or on disk, as the pipeline's `signal` has them. labels: their
    classes (m,). class_names: of all classes. classifier: `classify` tells the class of samples; None where nothing
    does. features: samples -> (n, D), with a `name`. conditions: labels (n,) -> what the pipeline is told (n, ...).
    thumbnails: a picture of each sample.
    """

    samples: Any
    labels: Tensor
    class_names: tuple[str, ...]
    classifier: Any
    features: Any
    conditions: Callable[[Tensor], Any] = lambda labels: labels
    thumbnails: Callable[[Tensor], Sequence[Image.Image]] = to_images

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classifier_content(self) -> Any:
        """What tells one classifier from another: its weights, or its name where it has none."""
        if self.classifier is None or isinstance(self.classifier, torch.nn.Module):
            return self.classifier
        return type(self.classifier).__qualname__

    def part(self, places: Tensor) -> ScoringBasis:
        """The same with some of the real samples; those on disk stay there."""
        kept = self.samples[places] if isinstance(self.samples, torch.Tensor) else self.samples.take(places)
        return replace(self, samples=kept, labels=self.labels[places])


@dataclass(frozen=True)
class Score:
    """What `num` samples made with some sampling settings are worth.

    accuracy: share that the classifier takes for the class they were asked for; NaN where the model is not told a class
    or nothing classifies. kid: to real held-out samples of the same classes, each of equal weight (`balanced_kernel`);
    kid_floor: how far that strays from 0, at this n, for samples as good as real. precision, recall: shares in [0, 1]
    (Kynkäänniemi et al. 2019). diversity: mean distance of features within a class. A figure is NaN where there are too
    few samples for it. seconds_per_picture: of sampling and decoding one in batches, nothing else. samples: (num, ...)
    in the order of the labels.
    """

    accuracy: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    diversity: float
    seconds_per_picture: float
    samples: Tensor

    @property
    def num(self) -> int:
        """Samples that the figures are of."""
        return len(self.samples)

    def figures(self) -> dict[str, float]:
        """FIGURES by name."""
        return {name: float(getattr(self, name)) for name in FIGURES}


class Scorer:
    """Scores sampling settings of one model; what does not depend on them is computed once and kept.

    Args:
        pipeline: the model. basis: what its samples are scored by.
        seed: of the choice of real samples and of the halves that they are divided into.
        batch_size: samples made at once.

    Raises:
        InputError: a model of other classes than the basis.
    """

    def __init__(self, pipeline: Pipeline, basis: ScoringBasis, seed: int = 0, batch_size: int = BATCH_SIZE) -> None:
        self.pipeline, self.basis, self.seed, self.batch_size = pipeline, basis, seed, batch_size
        self._real: dict[tuple[int, ...], Tensor] = {}
        self._floors: dict[tuple[tuple[int, ...], int], float] = {}
        self._warmed: dict[int, set[int]] = {}  # sizes of batches, by pipeline

    def score(
        self,
        settings: Mapping[str, Any],
        labels: Tensor,
        seed: int | Sequence[int] = 0,
        *,
        pipeline: Pipeline | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Make a sample of each label and score them all.

        settings: sampling settings that differ from the model's own. labels: (n,) int64. seed: one for all, or one a
        sample. pipeline: another walk of the same model, as `ScheduleAdapter`. progress(done, n) counts samples.

        Raises:
            InputError: settings that the model cannot be sampled with, or a class without real held-out samples.
        """
        real = self.real_features(labels)
        samples, seconds = self.sample(settings, labels, seed, pipeline=pipeline, progress=progress)
        told = self.pipeline.is_conditional
        return Score(
            accuracy=self._accuracy(labels, samples) if told else math.nan,
            kid_floor=self.kid_floor(labels),
            seconds_per_picture=seconds,
            samples=samples,
            **distances(real, self._real_labels(labels), features_of(self.basis.features, samples), labels, told=told),
        )

    def sample(
        self,
        settings: Mapping[str, Any],
        labels: Tensor,
        seed: int | Sequence[int] = 0,
        *,
        pipeline: Pipeline | None = None,
        progress: Progress | None = None,
    ) -> tuple[Tensor, float]:
        """Samples (n, ...) of the labels, and the seconds that one took.

        The i-th sample of a label at a seed starts from the same noise whatever the settings and the other labels.
        """
        pipeline = pipeline or self.pipeline
        made = generate_timed(
            pipeline,
            self.basis.conditions(labels),
            generators=[seeding.generator(*source) for source in noise_sources(labels, seed)],
            labels=labels,
            batch_size=self.batch_size,
            warmed=self._warmed.setdefault(id(pipeline), set()),
            progress=progress,
            **settings,
        )
        return made.signal, made.seconds

    def reference(self, labels: Tensor) -> dict[str, float]:
        """What real held-out samples score: `accuracy`, and `precision`, `recall` and `diversity` of one half of them.

        The halves share no sample; each holds as many as there are labels, or as there are real ones for.
        """
        real, own = self.real_features(labels), self._real_labels(labels)
        order = torch.randperm(len(real), generator=seeding.generator(self.seed, "halves"))
        num = min(len(labels), len(real) // 2)
        first, second = order[:num], order[num : 2 * num]
        figures = distances(real[first], own[first], real[second], own[second])
        held_out = [self.basis.samples[places] for places in self._chosen(labels).split(CHUNK)]
        return {"accuracy": self._accuracy(own, *held_out)} | {key: figures[key] for key in figures if key != "kid"}

    def real_features(self, labels: Tensor) -> Tensor:
        """Features (m, D) of real held-out samples of these classes, equally many of each.

        Raises:
            InputError: a class without any.
        """
        classes = tuple(labels.unique().tolist())
        if classes not in self._real:
            places = self._chosen(labels)
            self._real[classes] = torch.cat(
                [features_of(self.basis.features, self.basis.samples[part]) for part in places.split(CHUNK)]
            )
        return self._real[classes]

    def kid_floor(self, labels: Tensor) -> float:
        """How far the KID of as many samples as there are labels strays from 0 if they are as good as real."""
        key = tuple(labels.unique().tolist()), len(labels)
        if key not in self._floors:
            real, n = self.real_features(labels), len(labels)
            if self.pipeline.is_conditional:
                pairs = n > len(key[0])  # else every class has one sample
                floor = balanced_floor(real, self._real_labels(labels), n, seed=self.seed) if pairs else math.nan
            else:
                floor = kernel_floor(real, n, seed=self.seed) if len(real) >= 4 and n >= 2 else math.nan
            self._floors[key] = floor
        return self._floors[key]

    def _real_labels(self, labels: Tensor) -> Tensor:
        return self.basis.labels[self._chosen(labels)]

    def _chosen(self, labels: Tensor) -> Tensor:
        """Places (m,) of held-out samples of these classes, equally many of each, one class after the other."""
        places = [(self.basis.labels == label).nonzero().flatten() for label in labels.unique()]
        for label, own in zip(labels.unique().tolist(), places, strict=True):
            if not len(own):
                name = self.basis.class_names[label]
                raise InputError(f"no held-out sample of class {name!r} to compare with; leave the class out")
        num = min(map(len, places))
        generator = seeding.generator(self.seed, "real pictures")
        return torch.cat([own[torch.randperm(len(own), generator=generator)[:num]] for own in places])

    def _accuracy(self, labels: Tensor, *samples: Tensor) -> float:
        if self.basis.classifier is None:
            return math.nan
        return accuracy(labels, torch.cat([self.basis.classifier.classify(part).cpu() for part in samples]))


def distances(
    real: Tensor, real_labels: Tensor, made: Tensor, labels: Tensor, *, told: bool = True
) -> dict[str, float]:
    """`kid`, `precision`, `recall` and `diversity` of features (n, D); NaN where there are too few for one.

    told: whether the samples made are of these labels; those of a model that is told nothing are of any class.
    """
    group = labels if told else torch.zeros_like(labels)
    fewest = min(len(real), len(made))
    value = balanced_kernel(real, real_labels, made, group)
    precision, recall = precision_recall(real, made, NEIGHBOURS) if fewest > NEIGHBOURS else (math.nan, math.nan)
    return {"kid": value, "precision": precision, "recall": recall, "diversity": diversity(made, group)}


def noise_sources(labels: Tensor, seed: int | Sequence[int]) -> list[tuple[int, str, int, int]]:
    """What names each sample's noise: its seed, its label and how many of the two came before; for `seeding`."""
    seeds = [seed] * len(labels) if isinstance(seed, int) else list(seed)
    counts: Counter[tuple[int, int]] = Counter()
    sources = []
    for own, label in zip(seeds, labels.tolist(), strict=True):
        sources.append((own, "label", label, counts[own, label]))
        counts[own, label] += 1
    return sources
