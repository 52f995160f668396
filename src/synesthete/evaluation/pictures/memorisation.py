"""Made, or copied? How near a model's pictures come to those it was trained on, beside real ones it never saw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.distances import interval
from synesthete.evaluation.pictures.distribution import nearest
from synesthete.evaluation.report import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.shards import Rows

WATCHED = (0.01, 0.05)  # shares of held-out pictures that are nearer to training than a distance that is watched


@dataclass(frozen=True)
class Closeness:
    """Distance to the nearest training picture, of what was made (n,) and of real held-out pictures (m,).

    space: what the distance is measured in. places, held_out_places: of the nearest training picture. num_training:
    how many there are.
    """

    space: str
    made: Tensor
    places: Tensor
    held_out: Tensor
    held_out_places: Tensor
    num_training: int

    def limit(self, share: float) -> float:
        """The distance below which this share of the held-out pictures is."""
        return self.held_out.quantile(share).item()

    def closer(self, share: float) -> float:
        """The share of made pictures below that distance; about `share` where nothing is copied."""
        return (self.made < self.limit(share)).double().mean().item()

    def ratio(self) -> float:
        """Median distance of what was made over that of held-out pictures: 0 of copies, about 1 without any."""
        middle = self.held_out.median().item()
        return self.made.median().item() / middle if middle else math.nan

    def nearer(self, place: int) -> float:
        """The share of held-out pictures that are nearer to a training picture than this made one."""
        return (self.held_out < self.made[place]).double().mean().item()

    def suspects(self, num: int) -> Tensor:
        """Places of the made pictures that are nearest to a training picture, the nearest first."""
        return self.made.argsort(stable=True)[:num]

    def metrics(self) -> list[Metric]:
        """The ratio and the shares. Chance is what copying training pictures gives, the ceiling what real ones give."""
        num = len(self.made)
        against = f"{self.space}, n = {num}, {self.num_training} training pictures"
        name = f"memorisation: distance to the nearest one over held-out's ({against})"
        found = [Metric(name, self.ratio(), chance=0.0, ceiling=1.0)]
        for share in WATCHED:
            name = f"memorisation: share as near as the nearest {share:.0%} of held-out ({against})"
            value = self.closer(share)
            found.append(Metric(name, value, interval(value, num), chance=1.0, ceiling=share))
        return found


def measure_closeness(
    space: str,
    made: Tensor,
    held_out: Tensor,
    training: Tensor | Rows,
    *,
    unit: float = 1.0,
    mirrored: tuple[Tensor, Tensor] | None = None,
) -> Closeness:
    """Distances in units of `unit`, between features (n, D) or pictures (n, C, H, W).

    mirrored: made and held out the other way round, where training pictures were learned both ways round; the nearer
    one counts.
    """
    found = []
    for number, queries in enumerate((made, held_out)):
        distances, places = nearest(queries, training)
        if mirrored is not None:
            other, other_places = nearest(mirrored[number], training)
            distances, places = torch.minimum(distances, other), places.where(distances <= other, other_places)
        found.append((distances / unit, places))
    return Closeness(space, *found[0], *found[1], len(training))
