"""What a way of sampling is worth: the same samples again under other settings, classified, compared and timed."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.picture import to_images
from synesthete.evaluation.metrics import distribution
from synesthete.evaluation.metrics.metric import accuracy
from synesthete.evaluation.metrics.set_comparison import CHUNK, NEIGHBOURS, features_of
from synesthete.evaluation.samples import generate_timed
from synesthete.io import read_json
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.pipeline import Pipeline

__all__ = ["ScoringBasis"]

BATCH_SIZE = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringBasis:
    """What a model's samples are scored by; a task gives one for a model of its kind.

    samples, labels: real held-out ones (m, ...), in memory or on disk, as the pipeline's `signal` has them, and their
    classes (m,). classifier: `classify` tells the class of samples; None where nothing does. features: as of
    `find_features`. conditions: labels (n,) -> what the pipeline is told (n, ...). thumbnails: a picture of each.
    """

    samples: Any
    labels: Tensor
    class_names: tuple[str, ...]
    classifier: Any
    features: Any
    conditions: Callable[[Tensor], Any] = torch.as_tensor  # the labels themselves, by what goes to other processes
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
class Figures:
    """What samples made with some sampling settings are worth; NaN where there are too few samples for a figure.

    accuracy: share that the classifier takes for the class asked for; NaN without classes. kid: `balanced_kernel` to
    real held-out samples of the same classes; kid_floor: how far that strays from 0, at this n, for samples as good as
    real. precision, recall, diversity: as of `distribution`. seconds_per_picture: of sampling and decoding in batches.
    """

    accuracy: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    diversity: float
    seconds_per_picture: float

    def figures(self) -> dict[str, float]:
        """FIGURES by name."""
        return {name: float(getattr(self, name)) for name in FIGURES}


FIGURES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True)
class ScoredSamples(Figures):
    """Figures and the samples (num, ...) that they are of, in the order of the labels."""

    samples: Tensor


def read_figures(path: Path) -> dict[str, float] | None:
    """The `finite` figures in a JSON file; None where there is none, or a damaged one, which is said."""
    try:
        kept = read_json(path)["figures"]
        return {name: math.nan if kept[name] is None else float(kept[name]) for name in FIGURES}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("%s: damaged; measured again", path)
        return None


class Scorer:
    """Scores sampling settings of one model; what does not depend on them is computed once and kept.

    seed: of the choice of real samples and of the halves that they are divided into. batch_size: samples made at once.
    """

    def __init__(self, pipeline: Pipeline, basis: ScoringBasis, seed: int = 0, batch_size: int = BATCH_SIZE) -> None:
        self.pipeline, self.basis, self.seed, self.batch_size = pipeline, basis, seed, batch_size
        self._real: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._floors: dict[tuple[int, tuple[int, ...]], float] = {}
        self._warmed: dict[int, set[int]] = {}  # sizes of batches, by pipeline

    def score(
        self,
        settings: Mapping[str, Any],
        labels: Tensor,
        seed: int | Sequence[int] = 0,
        *,
        pipeline: Pipeline | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ScoredSamples:
        """Make a sample of each label and score them all.

        The i-th sample of a label at a seed starts from the same noise whatever the settings and the other labels.
        settings: sampling settings that differ from the model's own. labels: (n,) int64. seed: one for all, or one a
        sample. pipeline: another walk of the same model, as `ScheduleAdapter`. progress(done, n) counts samples.

        Raises:
            InputError: settings that the model cannot be sampled with, or a class without real held-out samples.
        """
        pipeline, told = pipeline or self.pipeline, self.pipeline.is_conditional
        places, real = self._real_features(labels)
        how: dict[str, Any] = {"labels": labels, "batch_size": self.batch_size, "progress": progress, **settings}
        how["generators"] = [seeding.generator(*source) for source in noise_sources(labels, seed)]
        how["warmed"] = self._warmed.setdefault(id(pipeline), set())
        made = generate_timed(pipeline, self.basis.conditions(labels), **how)
        # Samples of a model that is told nothing are of any class.
        group, features = labels if told else torch.zeros_like(labels), features_of(self.basis.features, made.signal)
        share = self._accuracy(labels, [made.signal]) if told else math.nan
        found = distances(real, self.basis.labels[places], features, group) | {"kid_floor": self.kid_floor(labels)}
        return ScoredSamples(accuracy=share, seconds_per_picture=made.seconds, samples=made.signal, **found)

    def reference(self, labels: Tensor) -> dict[str, float]:
        """What real held-out samples score: `accuracy`, and `precision`, `recall` and `diversity` of one half of them.

        The halves share no sample; each holds as many as there are labels, or as there are real ones for.
        """
        places, real = self._real_features(labels)
        own = self.basis.labels[places]
        order = torch.randperm(len(real), generator=seeding.generator(self.seed, "halves"))
        num = min(len(labels), len(real) // 2)
        first, second = order[:num], order[num : 2 * num]
        figures = distances(real[first], own[first], real[second], own[second])
        del figures["kid"]
        return {"accuracy": self._accuracy(own, [self.basis.samples[part] for part in places.split(CHUNK)])} | figures

    def kid_floor(self, labels: Tensor) -> float:
        """How far the KID of as many samples as there are labels strays from 0 if they are as good as real."""
        n, classes = key = len(labels), tuple(labels.unique().tolist())
        if key not in self._floors:
            places, real = self._real_features(labels)
            self._floors[key] = math.nan
            if self.pipeline.is_conditional and n > len(classes):  # else every class has one sample
                self._floors[key] = distribution.balanced_floor(real, self.basis.labels[places], n, seed=self.seed)
            elif not self.pipeline.is_conditional and len(real) >= 4 and n >= 2:
                self._floors[key] = distribution.kernel_floor(real, n, seed=self.seed)
        return self._floors[key]

    def _real_features(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Places (m,) of real held-out samples of these classes, equally many of each, and their features (m, D)."""
        classes = tuple(labels.unique().tolist())
        if classes not in self._real:
            members = [(self.basis.labels == label).nonzero().flatten() for label in classes]
            if lacking := [label for label, own in zip(classes, members, strict=True) if not len(own)]:
                name = self.basis.class_names[lacking[0]]
                raise InputError(f"no held-out sample of class {name!r} to compare with; leave the class out")
            num, generator = min(map(len, members)), seeding.generator(self.seed, "real pictures")
            places = torch.cat([own[torch.randperm(len(own), generator=generator)[:num]] for own in members])
            parts = [features_of(self.basis.features, self.basis.samples[part]) for part in places.split(CHUNK)]
            self._real[classes] = places, torch.cat(parts)
        return self._real[classes]

    def _accuracy(self, labels: Tensor, samples: Sequence[Tensor]) -> float:
        if self.basis.classifier is None:
            return math.nan
        return accuracy(labels, torch.cat([self.basis.classifier.classify(part).cpu() for part in samples]))


def distances(real: Tensor, real_labels: Tensor, made: Tensor, labels: Tensor) -> dict[str, float]:
    """`kid`, `precision`, `recall` and `diversity` of features (n, D); NaN where there are too few for one."""
    enough = min(len(real), len(made)) > NEIGHBOURS
    coverage = distribution.precision_recall(real, made, NEIGHBOURS) if enough else (math.nan, math.nan)
    kid = distribution.balanced_kernel(real, real_labels, made, labels)
    names = "kid", "precision", "recall", "diversity"
    return dict(zip(names, (kid, *coverage, distribution.diversity(made, labels)), strict=True))


def noise_sources(labels: Tensor, seed: int | Sequence[int]) -> list[tuple[int, str, int, int]]:
    """What names each sample's noise: its seed, its label and how many of the two came before; for `seeding`."""
    seeds = [seed] * len(labels) if isinstance(seed, int) else seed
    before: dict[tuple[int, int], Iterator[int]] = defaultdict(count)
    pairs = zip(seeds, labels.tolist(), strict=True)
    return [(own, "label", label, next(before[own, label])) for own, label in pairs]
