"""The pictures that a model paints of what it is told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCH_SIZE = 32


@dataclass(frozen=True)
class Painted:
    """Pictures (n, C, H, W) uint8, the x_0 (n, c, h, w) that they were decoded from, and the seconds that one took."""

    pictures: Tensor
    x_0: Tensor
    seconds: float


def paint(
    pipeline: Any, raw: Any, seed: int = 0, *, progress: Callable[[int, int], None] | None = None, **sampling: Any
) -> Painted:
    """Pictures of a raw condition of n samples; sample i draws the same noise whatever it and the others are told."""
    pictures, x_0, seconds, num = [], [], 0.0, len(raw)
    for first in range(0, num, BATCH_SIZE):
        here = raw[first : first + BATCH_SIZE]
        start = time.perf_counter()
        output = pipeline(here, generators=seeding.sample_generators(seed, len(here), first), **sampling)
        pictures.append(output.signal.cpu())  # the copy waits for a device that computes on its own
        seconds += time.perf_counter() - start
        x_0.append(output.x_0.float().cpu())
        if progress:
            progress(first + len(here), num)
    return Painted(torch.cat(pictures), torch.cat(x_0), seconds / num)
