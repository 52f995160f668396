"""How like real pictures a set of pictures is, as a set, beside what is as good and as bad as chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.metrics.balanced_kernel import balanced_floor
from synesthete.evaluation.metrics.distribution import diversity, kernel_floor
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.metrics.set_metrics import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.data.rows import Rows
    from synesthete.evaluation.features.features import Features
    from synesthete.evaluation.metrics.set_metrics import SetMetrics

CHUNK = 256  # pictures whose features are computed at once


@dataclass(frozen=True)
class Likenesses:
    """SetMetrics of what was made, of other real pictures (`real`) and of pixels at random (`worst`), to real ones.

    features: by what the pictures are described. num: made. num_equal: of each set for FID, precision and recall.
    width: dimensions of the features. floor: of KID, the root mean square between real sets. real_diversity: of the
    held-out pictures themselves. balanced_floor: of class-balanced KID, NaN without classes or with too few pictures of
    one. within: what diversity is measured within.
    """

    features: str
    num: int
    num_held_out: int
    num_equal: int
    width: int
    made: SetMetrics
    real: SetMetrics
    worst: SetMetrics
    floor: float
    balanced_floor: float
    real_diversity: float
    within: str

    def metrics(self) -> list[Metric]:
        """Every figure with that of pixels at random as chance and that of real pictures as ceiling."""
        equal = f"{self.features}, n = {self.num_equal}"
        against = f"{self.features}, n = {self.num}, {self.num_held_out} real"
        made, real, worst = self.made, self.real, self.worst
        return [
            Metric(f"FID ({equal})", made.frechet, chance=worst.frechet, ceiling=real.frechet),
            Metric(f"KID ({against})", made.kernel, chance=worst.kernel, ceiling=self.floor),
            Metric(
                f"KID over its real-vs-real floor ({against})",
                self.over_floor(made.kernel),
                chance=self.over_floor(worst.kernel),
                ceiling=1.0,
            ),
            *self._balanced(against),
            Metric(f"precision ({equal})", made.precision, chance=worst.precision, ceiling=real.precision),
            Metric(f"recall ({equal})", made.recall, chance=worst.recall, ceiling=real.recall),
            Metric(
                f"diversity within {self.within} over that of real pictures ({against})",
                made.diversity / self.real_diversity if self.real_diversity else math.nan,
                chance=0.0,
                ceiling=real.diversity / self.real_diversity if self.real_diversity else math.nan,
            ),
        ]

    def _balanced(self, against: str) -> list[Metric]:
        """Without the chance that one set has more of a class: what is left is how each class looks."""
        if not self.balanced_floor > 0 or math.isnan(self.made.balanced):
            return []
        value, chance = (likeness.balanced / self.balanced_floor for likeness in (self.made, self.worst))
        return [Metric(f"class-balanced KID over its floor ({against})", value, chance=chance, ceiling=1.0)]

    def over_floor(self, value: float) -> float:
        """A KID as a multiple of what real pictures score against real ones."""
        return value / self.floor if self.floor else math.nan


def measure_likeness(
    features: Features,
    made: Tensor,
    made_labels: Tensor,
    real: dict[str, tuple[Tensor, Tensor]],
    *,
    within: str = "a class",
    seed: int = 0,
    report: Callable[[str, int, int], None],
) -> Likenesses:
    """Compare pictures uint8 (n, C, H, W) with real held-out ones.

    real: pictures and labels by name: "held out", "others" (as good as can be) and "worst".
    """
    sets = {"made": (made, made_labels), **real}
    described = {
        name: features_of(features, pictures, lambda *count, name=name: report(f"features, {name}", *count))
        for name, (pictures, _) in sets.items()
    }
    held_out, groups = described["held out"], sets["held out"][1]
    num_equal = min(map(len, described.values()))
    found = {
        name: compare(held_out, sets["held out"][1], described[name], sets[name][1], num_equal, seed)
        for name in ("made", "others", "worst")
    }
    return Likenesses(
        features=features.name,
        num=len(made),
        num_held_out=len(held_out),
        num_equal=num_equal,
        width=held_out.shape[1],
        made=found["made"],
        real=found["others"],
        worst=found["worst"],
        floor=kernel_floor(held_out, len(made), seed=seed),
        balanced_floor=balanced_floor(held_out, groups, len(made), seed=seed) if len(groups.unique()) > 1 else math.nan,
        real_diversity=diversity(held_out, sets["held out"][1]),
        within=within,
    )


def features_of(features: Features, pictures: Tensor | Rows, report: Callable[[int, int], None]) -> Tensor:
    """Features (n, D) float32 of pictures uint8 (n, C, H, W), a chunk at a time, on the CPU."""
    found: list[Any] = []
    for first in range(0, len(pictures), CHUNK):
        found.append(features(pictures[first : first + CHUNK]).float().cpu())
        report(min(first + CHUNK, len(pictures)), len(pictures))
    return torch.cat(found)
