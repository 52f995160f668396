"""What a model says to pictures, and what real clips sound like after the same codec."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.metrics.metric import Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCH_SIZE = 50


@dataclass(frozen=True)
class Speech:
    """Sound as both judges take it. x_0: (n, 1, F, T). waveforms: (n, S). seconds: of each batch, all that made it."""

    x_0: Tensor
    waveforms: Tensor
    seconds: tuple[float, ...] = ()


def speak(
    pipeline: Any,
    pictures: Tensor,
    *,
    seed: int = 0,
    guidance_scale: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Speech:
    """What the model says to pictures (n, C, H, W); sample i draws the same noise whatever the guidance."""
    x_0, waveforms, seconds = [], [], []
    settings = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    for first in range(0, len(pictures), BATCH_SIZE):
        part = pictures[first : first + BATCH_SIZE]
        start = time.perf_counter()
        output = pipeline(part, generators=seeding.sample_generators(seed, len(part), first), **settings)
        waveforms.append(output.signal.float().cpu())
        seconds.append(time.perf_counter() - start)
        x_0.append(output.x_0.float().cpu())
        if progress:
            progress(first + len(part), len(pictures))
    return Speech(torch.cat(x_0), torch.cat(waveforms), tuple(seconds))


def encoded(codec: Any, waveforms: Tensor) -> Tensor:
    """x_0 (n, 1, F, T) of waveforms (n, S), a batch at a time, wherever the codec is."""
    return torch.cat([codec.encode(part.to(codec.mean.device)).cpu() for part in waveforms.split(BATCH_SIZE)])


def through_codec(codec: Any, waveforms: Tensor, seed: int) -> Speech:
    """Real waveforms (n, S) float, encoded and decoded."""
    return decoded(codec, encoded(codec, waveforms), seed)


def decoded(codec: Any, x_0: Tensor, seed: int) -> Speech:
    """x_0 (n, 1, F, T) and what it sounds like, a batch at a time; sample i always draws the same."""
    sounds = [
        codec.decode(part.to(codec.mean.device), seeding.sample_generators(seed, len(part), i * BATCH_SIZE)).cpu()
        for i, part in enumerate(x_0.split(BATCH_SIZE))
    ]
    return Speech(x_0, torch.cat(sounds))


def seconds_per_sample(pipeline: Any, pictures: Tensor, speech: Speech, seed: int) -> float:
    """Median over whole batches after the first, sampling and decoding; one more batch where there was only one."""
    size = min(BATCH_SIZE, len(pictures))
    whole = speech.seconds[1 : len(pictures) // BATCH_SIZE]
    times = whole or speak(pipeline, pictures[:size], seed=seed).seconds
    return torch.tensor(times).median().item() / size


def speed_metrics(seconds: float, factor: float, num: int) -> list[Metric]:
    """Seconds a sample and the real-time factor, as metrics; num: samples that there were."""
    name = f"batch of {min(BATCH_SIZE, num)}, sampling and decoding"
    return [
        Metric(f"seconds a sample ({name})", seconds),
        Metric(f"real-time factor (seconds of work a second of sound, {name})", factor),
    ]


def pad(waveforms: Tensor, codec: Any) -> Tensor:
    """int16 clips (n, S) as float in [-1, 1], as long as the codec's."""
    return F.pad(waveforms.float() / 32768, (0, max(0, codec.config.num_samples - waveforms.shape[-1])))
