"""Made, or copied? How near a model's samples come to those it was trained on, beside real ones it never saw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.evaluation.metrics.distribution import nearest
from synesthete.evaluation.metrics.metric import Metric, interval, metric

if TYPE_CHECKING:
    from synesthete.data.rows import Rows

WATCHED = (0.01, 0.05)  # shares of held-out samples that are nearer to training than a distance that is watched


@dataclass(frozen=True)
class NearestTrainingDistance:
    """Distance to the nearest of `num_training` samples in a space, of what was made (n,) and was held out (m,).

    places, held_out_places: of the nearest training sample. what: they are, in words.
    """

    space: str
    made: Tensor
    places: Tensor
    held_out: Tensor
    held_out_places: Tensor
    num_training: int
    what: str = "samples"

    def limit(self, share: float) -> float:
        """The distance below which this share of the held-out samples is."""
        return self.held_out.quantile(share).item()

    def closer(self, share: float) -> float:
        """The share of made samples below that distance; about `share` where nothing is copied."""
        return (self.made < self.limit(share)).double().mean().item()

    def ratio(self) -> float:
        """Median distance of what was made over that of held-out samples: 0 of copies, about 1 without any."""
        middle = self.held_out.median().item()
        return self.made.median().item() / middle if middle else math.nan

    def nearer(self, place: int) -> float:
        """The share of held-out samples that are nearer to a training sample than this made one."""
        return (self.held_out < self.made[place]).double().mean().item()

    def suspects(self, num: int) -> Tensor:
        """Places of the made samples that are nearest to a training sample, the nearest first."""
        return self.made.argsort(stable=True)[:num]

    def metrics(self) -> list[Metric]:
        """The ratio and the shares. Chance is what copying training samples gives, the ceiling what real ones give."""
        num = len(self.made)
        against = f"{self.space}, n = {num}, {self.num_training} training {self.what}"
        told: dict[str, Any] = {"against": against, "variant": self.space}
        found = [metric("memorization_distance", self.ratio(), chance=0.0, ceiling=1.0, **told)]
        for share in WATCHED:
            value, told["variant"] = self.closer(share), f"{share:.0%} {self.space}"
            figures = value, interval(value, num), 1.0, None, share
            found.append(metric("memorization_share", *figures, share=f"{share:.0%}", **told))
        return found


def nearest_training_distance(
    space: str,
    made: Tensor,
    held_out: Tensor,
    training: Tensor | Rows,
    *,
    unit: float = 1.0,
    mirrored: tuple[Tensor, Tensor] | None = None,
    what: str = "samples",
) -> NearestTrainingDistance:
    """Distances in units of `unit`, between features (n, D) or samples (n, ...) that are `what`.

    mirrored: made and held out the other way round, where training samples were learned so too; the nearer one counts.
    """
    found = []
    for number, queries in enumerate((made, held_out)):
        distances, places = nearest(queries, training)
        if mirrored is not None:
            other, other_places = nearest(mirrored[number], training)
            distances, places = torch.minimum(distances, other), places.where(distances <= other, other_places)
        found.append((distances / unit, places))
    return NearestTrainingDistance(space, *found[0], *found[1], len(training), what)
