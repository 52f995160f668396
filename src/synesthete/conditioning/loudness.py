"""How loud a piece is, told in decibels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from synesthete import seeding
from synesthete.conditioning.conditioner import Conditioner
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = (-60.0, -6.0)  # where no data have told them
NUM_TOLD = 50  # quantiles that are kept of the levels of what a model is trained on
RAREST = 0.01  # share at either end that is left out: between two quantiles as many are drawn anywhere


class Loudness(Conditioner):
    """Levels (B,) in dB, root mean square against full scale -> `Condition.pooled` (B, D); NaN says nothing.

    One that is left out is drawn by the seed from the levels of what the model was trained on, so that as many samples
    are as loud as there are such pieces. How loud a piece is would otherwise be decided in the first steps near noise,
    of which there are few: samples were too quiet, and some next to silent.

    Args:
        levels: quantiles of those levels, evenly spaced, from the lowest up; None: of the data that it is trained on.
        width: D.

    Raises:
        InputError: fewer than two levels, or levels that fall.
    """

    reads = "level"

    def __init__(self, levels: tuple[float, ...] | None = None, width: int = 256) -> None:
        super().__init__()
        self.levels = tuple(levels or LEVELS)
        if len(self.levels) < 2 or list(self.levels) != sorted(self.levels):
            raise InputError(f"conditioner.levels {self.levels}: give two or more, in dB, from the lowest up")
        self.network = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width))

    def compose(self, num: int, level: float | None = None) -> Tensor:
        """The same level (num,) for all; None leaves it to chance.

        Raises:
            InputError: a level far beyond those that were learned.
        """
        low, high = self.levels[0], self.levels[-1]
        if level is not None and not low <= level <= high:
            raise InputError(f"loudness {level:g} dB: this model learned {low:.0f} to {high:.0f}; give one of these")
        return torch.full((num,), torch.nan if level is None else float(level))

    def complete(self, raw: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """A level for each that has none, by the seed of its generator; the noise stays as it is."""
        chances = [torch.rand((), generator=seeding.generator(one.initial_seed(), "level")) for one in generators]
        place = torch.stack(chances) * (len(self.levels) - 1)
        below = place.long().clamp(max=len(self.levels) - 2)
        known = torch.tensor(self.levels)
        drawn = torch.lerp(known[below], known[below + 1], place - below)
        return raw.where(~raw.isnan(), drawn.to(raw))

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: levels (B,) in dB, or NaN."""
        told = ~raw.isnan()
        middle, reach = (self.levels[-1] + self.levels[0]) / 2, (self.levels[-1] - self.levels[0]) / 2
        level = torch.where(told, (raw - middle) / max(reach, 1.0), 0.0)
        features = torch.stack([level, told.to(level)], dim=1)  # (B, 2)
        return Condition(pooled=self.network(features.to(self.device, self.dtype)))

    def null(self, batch_size: int) -> Condition:
        """Of no level, (batch_size, ...)."""
        return self.encode(torch.full((batch_size,), torch.nan, device=self.device))


def quantiles(levels: Tensor) -> tuple[float, ...]:
    """Levels (n,) as `Loudness.levels`."""
    return tuple(torch.quantile(levels.float(), torch.linspace(RAREST, 1 - RAREST, NUM_TOLD)).tolist())
