"""What a way of sampling is worth: the same pictures again under other settings, judged and timed."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.features.features import find_features
from synesthete.evaluation.metrics.balanced_kernel import balanced_floor, balanced_kernel
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.distribution import diversity, kernel_floor, precision_recall
from synesthete.evaluation.reporting.provenance import listed
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.features.features import Features
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[int, int], None]

BATCH_SIZE = 64
CHUNK = 256  # pictures whose features are computed at once
NEIGHBOURS = 3  # of precision and recall


@dataclass(frozen=True)
class Score:
    """What `num` pictures made with some sampling settings are worth.

    accuracy: share that the judge sees as the class they were asked for; NaN where the model is not told a class.
    kid: to real held-out pictures of the same classes, each of equal weight (`balanced_kernel`); kid_floor: how far
    that strays from 0, at this n, for pictures as good as real. precision, recall: shares in [0, 1] (Kynkäänniemi et
    al. 2019). diversity: mean distance of features within a class. A figure is NaN where there are too few pictures
    for it. seconds_per_picture: of sampling and decoding in batches, nothing else. pictures: (num, C, H, W) uint8, in
    the order of the labels.
    """

    accuracy: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    diversity: float
    seconds_per_picture: float
    pictures: Tensor

    @property
    def num(self) -> int:
        """Pictures that the figures are of."""
        return len(self.pictures)

    def figures(self) -> dict[str, float]:
        """The figures by name, without the pictures."""
        return {name: value for name, value in vars(self).items() if name != "pictures"}


class Scorer:
    """Scores sampling settings of one model; what does not depend on them is computed once and kept.

    Args:
        pipeline: the model. prepared: its data, whose held-out pictures (`prepared.test`) are the real ones.
        judge: tells the class of a picture. features: what the distances are measured on.
        seed: of the choice of real pictures and of the halves that they are divided into.
        batch_size: pictures sampled at once.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        prepared: Prepared,
        judge: ImageClassifier,
        features: Features,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.pipeline, self.prepared, self.judge, self.features = pipeline, prepared, judge, features
        self.seed, self.batch_size = seed, batch_size
        self._real: dict[tuple[int, ...], Tensor] = {}
        self._floors: dict[tuple[tuple[int, ...], int], float] = {}
        self._warm: set[tuple[int, int]] = set()

    def score(
        self,
        settings: Mapping[str, Any],
        labels: Tensor,
        seed: int | Sequence[int] = 0,
        *,
        pipeline: Pipeline | None = None,
        progress: Progress | None = None,
    ) -> Score:
        """Make a picture of each label and judge them all.

        settings: sampling settings that differ from the model's own. labels: (n,) int64. seed: one for all, or one a
        picture. pipeline: another walk of the same model, as `Rescheduled`. progress(done, n) counts pictures.

        Raises:
            InputError: settings that the model cannot be sampled with, or a class without real held-out pictures.
        """
        real = self.real_features(labels)
        pictures, seconds = self.sample(settings, labels, seed, pipeline=pipeline, progress=progress)
        told = self.pipeline.is_conditional
        return Score(
            accuracy=accuracy(labels, self.judge.classify(pictures).cpu()) if told else math.nan,
            kid_floor=self.kid_floor(labels),
            seconds_per_picture=seconds,
            pictures=pictures,
            **distances(real, self._real_labels(labels), self._features_of(pictures), labels, told=told),
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
        """Pictures (n, C, H, W) uint8 of the labels, and the seconds that one took.

        The i-th picture of a label at a seed starts from the same noise whatever the settings and the other labels.
        """
        pipeline = pipeline or self.pipeline
        sources, parts, seconds = noise_sources(labels, seed), [], 0.0
        for first in range(0, len(labels), self.batch_size):
            raw = labels[first : first + self.batch_size]
            self._warm_up(pipeline, raw)
            generators = [seeding.generator(*source) for source in sources[first : first + len(raw)]]
            start = time.perf_counter()
            # The copy waits for a device that computes on its own.
            parts.append(pipeline(raw, generators=generators, **settings).signal.cpu())
            seconds += time.perf_counter() - start
            if progress:
                progress(first + len(raw), len(labels))
        return torch.cat(parts), seconds / len(labels)

    def reference(self, labels: Tensor) -> dict[str, float]:
        """What real held-out pictures score: `accuracy`, and `precision`, `recall` and `diversity` of one half of them.

        The halves share no picture; each holds as many as there are labels, or as there are real pictures for.
        """
        real, own = self.real_features(labels), self._real_labels(labels)
        order = torch.randperm(len(real), generator=seeding.generator(self.seed, "halves"))
        num = min(len(labels), len(real) // 2)
        first, second = order[:num], order[num : 2 * num]
        figures = distances(real[first], own[first], real[second], own[second])
        held_out = self.prepared.test.pictures
        seen = torch.cat([self.judge.classify(held_out[places]).cpu() for places in self._chosen(labels).split(CHUNK)])
        return {"accuracy": accuracy(own, seen)} | {key: figures[key] for key in figures if key != "kid"}

    def real_features(self, labels: Tensor) -> Tensor:
        """Features (m, D) of real held-out pictures of these classes, equally many of each.

        Raises:
            InputError: a class that no held-out picture shows.
        """
        classes = tuple(labels.unique().tolist())
        if classes not in self._real:
            places = self._chosen(labels)
            self._real[classes] = torch.cat(
                [self._features_of(self.prepared.test.pictures[p]) for p in places.split(CHUNK)]
            )
        return self._real[classes]

    def kid_floor(self, labels: Tensor) -> float:
        """How far the KID of as many pictures as there are labels strays from 0 if they are as good as real."""
        key = tuple(labels.unique().tolist()), len(labels)
        if key not in self._floors:
            real, n = self.real_features(labels), len(labels)
            if self.pipeline.is_conditional:
                pairs = n > len(key[0])  # else every class has one picture
                floor = balanced_floor(real, self._real_labels(labels), n, seed=self.seed) if pairs else math.nan
            else:
                floor = kernel_floor(real, n, seed=self.seed) if len(real) >= 4 and n >= 2 else math.nan
            self._floors[key] = floor
        return self._floors[key]

    def _real_labels(self, labels: Tensor) -> Tensor:
        return self.prepared.test.labels[self._chosen(labels)]

    def _chosen(self, labels: Tensor) -> Tensor:
        """Places (m,) of held-out pictures of these classes, equally many of each, one class after the other."""
        held_out = self.prepared.test
        places = [(held_out.labels == label).nonzero().flatten() for label in labels.unique()]
        for label, own in zip(labels.unique().tolist(), places, strict=True):
            if not len(own):
                name = self.prepared.class_names[label]
                raise InputError(f"no held-out picture of class {name!r} to compare with; leave the class out")
        num = min(map(len, places))
        generator = seeding.generator(self.seed, "real pictures")
        return torch.cat([own[torch.randperm(len(own), generator=generator)[:num]] for own in places])

    def _features_of(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.features(part).float().cpu() for part in pictures.split(CHUNK)])

    def _warm_up(self, pipeline: Pipeline, raw: Tensor) -> None:
        """The first forward of a shape chooses kernels and takes memory, which is not the settings' doing."""
        shape = id(pipeline), len(raw)
        if shape not in self._warm:
            self._warm.add(shape)
            next(pipeline.trajectory(raw))


def make_scorer(
    pipeline: Pipeline,
    prepared: Prepared,
    *,
    features: str = "auto",
    own_judge: ImageClassifier | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Scorer:
    """A scorer of a picture model with its judge and its features.

    The judge is trained here, or taken from the cache. features: as `find_features`. own_judge: the one kept with the
    model, which stands in where the data have no pictures for a judge. progress(what, done, total).

    Raises:
        InputError: no judge, a model of other classes than the data's, and as `find_features`.
    """
    if pipeline.is_conditional and tuple(pipeline.class_names) != tuple(prepared.class_names):
        raise InputError(
            f"the model draws {listed(pipeline.class_names)}, the data show {listed(prepared.class_names)}; "
            "score it on the data of its own recipe"
        )
    judge = own_judge
    if prepared.judge is not None and len(prepared.judge):
        judge = load_or_train_image_classifier(
            prepared.judge, prepared.test, prepared.class_names, seed=seed, progress=progress
        ).classifier
    if judge is None:
        raise InputError("no pictures for a judge in the data and none with the model; --set data.num_judge=400")
    return Scorer(pipeline, prepared, judge, find_features(features, judge), seed)


def distances(
    real: Tensor, real_labels: Tensor, made: Tensor, labels: Tensor, *, told: bool = True
) -> dict[str, float]:
    """`kid`, `precision`, `recall` and `diversity` of features (n, D); NaN where there are too few for one.

    told: whether the pictures made are of these labels; those of a model that is told nothing are of any class.
    """
    group = labels if told else torch.zeros_like(labels)
    fewest = min(len(real), len(made))
    value = balanced_kernel(real, real_labels, made, group)
    precision, recall = precision_recall(real, made, NEIGHBOURS) if fewest > NEIGHBOURS else (math.nan, math.nan)
    return {"kid": value, "precision": precision, "recall": recall, "diversity": diversity(made, group)}


def noise_sources(labels: Tensor, seed: int | Sequence[int]) -> list[tuple[int, str, int, int]]:
    """What names each picture's noise: its seed, its label and how many of the two came before; for `seeding`."""
    seeds = [seed] * len(labels) if isinstance(seed, int) else list(seed)
    counts: Counter[tuple[int, int]] = Counter()
    sources = []
    for own, label in zip(seeds, labels.tolist(), strict=True):
        sources.append((own, "label", label, counts[own, label]))
        counts[own, label] += 1
    return sources
