"""What a model makes: sounds on fixed seeds, of classes or of real sounds drawn as often as held-out pieces are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete import seeding
from synesthete.data.audio import to_int16

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

BATCH_SIZE = 16


@dataclass(frozen=True)
class Made:
    """Sounds (n, S) int16, the classes (n,) they were asked for, and the seconds that one took.

    num_broken: how many of them held samples that are not finite, which are silent here. num_clipped: how many went
    beyond full scale.
    """

    waveforms: Tensor
    labels: Tensor
    seconds: float
    num_broken: int = 0
    num_clipped: int = 0


def draw_places(prepared: Prepared, num: int, seed: int) -> Tensor:
    """Places (num,) of held-out pieces, drawn anew each time: their classes, or sounds, are what is asked for."""
    return torch.randint(len(prepared.test), (num,), generator=seeding.generator(seed, "asked for"))


def make(pipeline: Pipeline, prepared: Prepared, num: int, seed: int, progress: Callable[[int, int], None]) -> Made:
    """`num` sounds with the model's own sampling settings; sample i draws the same noise whatever else is made."""
    places = draw_places(prepared, num, seed)
    labels = prepared.test.labels[places]
    warm_up(pipeline, prepared, places[:BATCH_SIZE])
    found, seconds, num_broken, num_clipped = [], 0.0, 0, 0
    for first in range(0, num, BATCH_SIZE):
        raw = raw_of(pipeline, prepared, places[first : first + BATCH_SIZE])
        start = time.perf_counter()
        # The copy waits for a device that computes on its own.
        signal = pipeline(raw, generators=seeding.sample_generators(seed, len(raw), first)).signal.float().cpu()
        seconds += time.perf_counter() - start
        num_broken += int((~signal.isfinite()).any(dim=1).sum())
        signal = signal.nan_to_num(0.0, 0.0, 0.0)
        num_clipped += int((signal.abs() > 1).any(dim=1).sum())
        found.append(to_int16(signal))
        progress(first + len(raw), num)
    return Made(torch.cat(found), labels, seconds / num, num_broken, num_clipped)


def raw_of(pipeline: Pipeline, prepared: Prepared, places: Tensor) -> Tensor:
    """What the conditioner reads of held-out pieces (n,): their classes, or their sounds (n, S)."""
    if getattr(type(pipeline.conditioner), "reads", "label") == "sound":
        return prepared.test.waveform(places)
    return prepared.test.labels[places]


def warm_up(pipeline: Pipeline, prepared: Prepared, places: Tensor) -> None:
    """The first forward of a shape chooses kernels and takes memory, which is not the settings' doing."""
    next(pipeline.trajectory(raw_of(pipeline, prepared, places)))
