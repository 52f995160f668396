"""What a model made as a set, beside real held-out samples, other real ones, and what is as bad as chance."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.evaluation.metrics import distribution
from synesthete.evaluation.metrics.metric import METRICS, Metric, metric
from synesthete.types import first_line

if TYPE_CHECKING:
    from synesthete.types import Progress

logger = logging.getLogger(__name__)

CHUNK = 256  # samples whose features are computed at once
HELD_OUT, MADE = "held out", "made"
NEIGHBOURS = 3  # of precision and recall, as Kynkäänniemi et al. 2019


@dataclass(frozen=True)
class SampleSet:
    """Samples (n, ...) as a system makes them, with their labels (n,) and features (n, D)."""

    samples: Any
    labels: Tensor
    features: Tensor


@dataclass(frozen=True)
class SetMetrics:
    """A set of samples against real held-out ones, in features; frechet, precision, recall at equal numbers of both.

    kernel, spread: the kernel distance and its deviation over subsets. balanced: the same with every class of equal
    weight; NaN where the sets have other classes. diversity: mean distance within a class.
    """

    frechet: float
    kernel: float
    spread: float
    balanced: float
    precision: float
    recall: float
    diversity: float


def compare_set(held_out: SampleSet, other: SampleSet, num_equal: int, seed: int) -> SetMetrics:
    """A set against real held-out samples. num_equal: of both, for what depends on the number."""
    real, made = held_out.features, other.features
    first, second = real[:num_equal], made[:num_equal]
    coverage = distribution.precision_recall(first, second, k=min(NEIGHBOURS, num_equal - 1))
    same = torch.equal(held_out.labels.unique(), other.labels.unique())
    balanced = distribution.balanced_kernel(real, held_out.labels, made, other.labels) if same else math.nan
    kernels = (*distribution.kernel(real, made, seed=seed), balanced)
    return SetMetrics(
        distribution.frechet(first, second), *kernels, *coverage, distribution.diversity(made, other.labels)
    )


def registered_metrics(
    held_out: SampleSet, made: SampleSet, *, real: SampleSet, worst: SampleSet, against: str
) -> list[Metric]:
    """The metrics that were registered with a `compute`; one that fails is said and left out.

    against: the features and n, for the titles.
    """
    found, sets = [], {MADE: made, "chance": worst, "other real samples": real}
    for key, row in METRICS.items():
        if row.compute is None:
            continue
        figures: list[float] = []
        try:
            for each in sets.values():
                figures.append(row.compute(held_out, each))
        except Exception as error:  # code from outside: the minutes that the others took are not lost with it
            of, reason = list(sets)[len(figures)], f"{type(error).__name__}: {first_line(error)}"
            logger.warning("metric %s left out: it failed on %s (%s)", key, of, reason)
            continue
        value, chance, ceiling = figures
        found.append(metric(key, value, chance=chance, ceiling=ceiling, against=against))
    return found


class SetComparison:
    """Sets of samples, by name, against real ones that were held out, in features.

    Attributes:
        sets: of MADE, `best`, `worst` and others. features, width: by what samples are described, and D of that. num,
            num_held_out: samples; num_equal: of each set for the Fréchet distance, precision and recall. floor,
            balanced_floor: of the kernel distances, NaN where there are too few. real_diversity: of the held-out ones.

    Args:
        features: as of `find_features`. sets: samples (n, ...) and labels (n,), those to compare with as HELD_OUT.
            best, worst: those as good as can be, and as bad as chance. within: what diversity is measured within.
    """

    def __init__(
        self,
        features: Any,
        sets: Mapping[str, tuple[Any, Tensor]],
        *,
        best: str,
        worst: str,
        within: str,
        seed: int = 0,
        progress: Progress,
    ) -> None:
        described = {
            name: SampleSet(samples, labels, features_of(features, samples, partial(progress, f"features, {name}")))
            for name, (samples, labels) in sets.items()
        }
        held_out = described.pop(HELD_OUT)
        real, labels = held_out.features, held_out.labels
        self.features, self.width, self.within = features.name, real.shape[1], within
        self.best, self.worst = best, worst
        self.num, self.num_held_out = len(described[MADE].labels), len(real)
        self.num_equal = min(len(real), *(len(each.labels) for each in described.values()))
        self.against = f"{self.features}, n = {self.num}, {self.num_held_out} real"
        self.registered = registered_metrics(
            held_out, described[MADE], real=described[best], worst=described[worst], against=self.against
        )
        self.sets = {name: compare_set(held_out, each, self.num_equal, seed) for name, each in described.items()}
        self.floor = distribution.kernel_floor(real, self.num, seed=seed)
        self.real_diversity, several = distribution.diversity(real, labels), len(labels.unique()) > 1
        self.balanced_floor = distribution.balanced_floor(real, labels, self.num, seed=seed) if several else math.nan

    @property
    def made(self) -> SetMetrics:
        """Of what the model made."""
        return self.sets[MADE]

    def over_floor(self, value: float) -> float:
        """A kernel distance as a multiple of what real samples score against real ones."""
        return value / self.floor if self.floor else math.nan

    def over_real(self, value: float) -> float:
        """A diversity as a share of that of held-out samples."""
        return value / self.real_diversity if self.real_diversity else math.nan

    def metrics(self, what: str, *, inception: bool = False, floor_is_ceiling: bool = True) -> list[Metric]:
        """Every figure with that of the worst as chance and that of real samples as ceiling.

        what: the samples are. inception: whether the distances are called FID and KID. floor_is_ceiling: whether other
        real samples have the expectation 0, so that the ceiling is how far the kernel distance strays from that.
        """
        equal, against = f"{self.features}, n = {self.num_equal}", self.against
        made, best, worst = self.made, self.sets[self.best], self.sets[self.worst]

        def beside(key: str, name: str, against: str) -> Metric:
            value, chance, ceiling = (getattr(each, name) for each in (made, worst, best))
            if name == "kernel" and floor_is_ceiling:
                ceiling = self.floor
            return metric(key, value, chance=chance, ceiling=ceiling, against=against)

        found = [
            beside("fid" if inception else "frechet_distance", "frechet", equal),
            beside("kid" if inception else "kernel_distance", "kernel", against),
        ]
        if floor_is_ceiling:
            value, chance = self.over_floor(made.kernel), self.over_floor(worst.kernel)
            found.append(metric("kid_over_floor", value, chance=chance, ceiling=1.0, against=against))
            # Without the chance that one set has more of a class: what is left is how each class looks.
            if self.balanced_floor > 0 and not math.isnan(made.balanced):
                value, chance = (each.balanced / self.balanced_floor for each in (made, worst))
                found.append(metric("balanced_kid_over_floor", value, chance=chance, ceiling=1.0, against=against))
        found += [beside(name, name, equal) for name in ("precision", "recall")]
        value, ceiling = self.over_real(made.diversity), self.over_real(best.diversity)
        told: dict[str, Any] = {"within": self.within, "what": what, "against": against}
        return [*found, metric("diversity", value, chance=0.0, ceiling=ceiling, **told), *self.registered]


def features_of(features: Any, samples: Any, report: Callable[[int, int], None] = lambda *_: None) -> Tensor:
    """Features (n, D) float32 of samples (n, ...), a chunk at a time, on the CPU."""
    found: list[Tensor] = []
    for first in range(0, len(samples), CHUNK):
        found.append(features(samples[first : first + CHUNK]).float().cpu())
        report(min(first + CHUNK, len(samples)), len(samples))
    return torch.cat(found)


class PooledFeatures:
    """Samples (n, ...) as the means of 64 stretches of their values: what needs no classifier."""

    name = "means of 64 stretches"

    def __call__(self, samples: Tensor) -> Tensor:
        """(n, 64)."""
        return torch.nn.functional.adaptive_avg_pool1d(samples.flatten(1).float()[:, None], 64)[:, 0]
