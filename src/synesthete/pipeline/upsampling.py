"""Highs for a low-rate sound of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.pipeline.windows import Frames
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.pipeline.pipeline import Pipeline

OVERLAP = 0.25  # of a window with the next one
BATCH_SIZE = 8
# Where the given sound ends and the made one begins, as shares of the Nyquist frequency of the given: below the
# resampler's own slope.
CROSSING = (0.85, 0.92)
LEAST = 0.8  # of the rate that the model was trained for: the least that is known to work


def upsample(
    pipeline: Pipeline,
    waveform: Tensor,
    sample_rate: int,
    *,
    generators: Sequence[torch.Generator] | None = None,
    join: bool = True,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
    **sampling: Any,
) -> Tensor:
    """Low-rate sound (S,) or (B, S) in [-1, 1] -> the same with highs, (S',) or (B, S') at the model's rate.

    Longer ones than the model holds are made in windows that overlap: they share their noise, their x_0 is cross-faded
    frame by frame, and all of it is decoded once, so that no seam is heard.

    sample_rate: of the given sound, in Hz. generators: one a sound, of seed 0 where None. join: put the given sound in
    the place of the band that the network made of it; what was given comes back as it was. progress(done, total) counts
    windows. sampling: any of the model's sampling settings.

    Raises:
        InputError: a model that is no upsampler, a sound of 0 samples or not finite, or of a rate that it cannot use.
    """
    check_upsampler(pipeline)
    rate = pipeline.codec.spec.sample_rate
    sounds = torch.atleast_2d(waveform.detach().cpu().float())  # (B, S)
    check_sound(sounds, sample_rate, pipeline)
    given = resample(sounds, sample_rate, rate)
    generators = list(generators or seeding.sample_generators(0, len(given)))
    x_0 = make_frames(pipeline, given, generators, batch_size, progress, **sampling)
    made = [
        pipeline.codec.decode(one[None], [generator], num_samples=given.shape[-1]).cpu()
        for one, generator in zip(x_0, generators, strict=True)
    ]  # one by one: the spectrum of a long sound is large
    whole = torch.cat(made)
    if join:
        whole = join_bands(given, whole, rate, sample_rate / 2)
    return whole.reshape(*waveform.shape[:-1], -1)


def check_upsampler(pipeline: Pipeline) -> None:
    """Raise InputError where a model does not make highs for a sound."""
    if pipeline.conditioner.reads != "sound" or "low_rate" not in pipeline.conditioner.config:
        kind = type(pipeline.conditioner).__name__
        raise InputError(f"this model reads {kind}, not a low-rate sound; give an upsampler, such as music-upsampler")


def check_sound(sounds: Tensor, sample_rate: int, pipeline: Pipeline) -> None:
    """Raise InputError where sounds (B, S) cannot be upsampled by this model."""
    rate, low_rate = pipeline.codec.spec.sample_rate, pipeline.conditioner.config.low_rate
    if not sounds.numel():
        raise InputError("a sound of 0 samples to upsample; record it again")
    if not torch.isfinite(sounds).all():
        raise InputError("a sound with NaN or infinite samples to upsample; mend it")
    if not LEAST * low_rate <= sample_rate < rate:
        why = "it has these highs already" if sample_rate >= rate else "too little is left of it"
        raise InputError(
            f"a sound at {sample_rate} Hz: {why}; this model makes {rate} Hz of {low_rate} Hz, resample to that first"
        )


def make_frames(
    pipeline: Pipeline,
    given: Tensor,
    generators: Sequence[torch.Generator],
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
    **sampling: Any,
) -> Tensor:
    """x_0 (B, C, H, T) of all frames of sounds (B, S) at the model's rate, from overlapping windows."""
    codec, frames = pipeline.codec, Frames.of(pipeline.codec)
    length, total = codec.config.num_samples, frames.covering(given.shape[-1])
    overlap = max(round(OVERLAP * frames.whole), 2 * frames.edge + 1)
    starts = window_starts(total, frames.whole, overlap)
    fade = crossfade(frames.whole, overlap, frames.edge)
    noise = seeding.randn((*codec.shape[:-1], starts[-1] + frames.num), generators)  # neighbours share theirs
    padded = F.pad(given, (0, max(starts[-1] * frames.hop + length - given.shape[-1], 0)))
    x_0, weight = torch.zeros(*noise.shape[:-1], starts[-1] + frames.whole), torch.zeros(starts[-1] + frames.whole)
    places = [(start, sound) for start in starts for sound in range(len(given))]
    for first in range(0, len(places), batch_size):
        here = places[first : first + batch_size]
        raw = torch.stack([padded[i, s * frames.hop : s * frames.hop + length] for s, i in here])
        draws = torch.stack([noise[i, ..., s : s + frames.num] for s, i in here])
        *_, made = pipeline.trajectory(raw, noise=draws, generators=[generators[i] for _, i in here], **sampling)
        for (s, i), window in zip(here, made.float().cpu(), strict=True):
            x_0[i, ..., s : s + frames.whole] += window[..., : frames.whole] * fade
        if progress:
            progress(first + len(here), len(places))
    for s in starts:
        weight[s : s + frames.whole] += fade
    return (x_0 / weight)[..., :total]


def window_starts(total: int, room: int, overlap: int) -> list[int]:
    """First frames of windows of `room` frames that cover `total`, each sharing `overlap` or more with the next."""
    if total <= room:
        return [0]
    num = -(-(total - overlap) // (room - overlap))
    return [i * (total - room) // (num - 1) for i in range(num)]


def crossfade(room: int, overlap: int, edge: int) -> Tensor:
    """Weights (room,) of a window's frames: up over the first `overlap` and down over the last, next to 0 at `edge`."""
    ramp = (torch.arange(room) + 1 - edge) / (overlap + 1 - 2 * edge)
    return torch.minimum(ramp, ramp.flip(0)).clamp(1e-4, 1)


def resample(sounds: Tensor, sample_rate: int, to: int) -> Tensor:
    """Sounds (B, S) at another rate."""
    if sample_rate == to:
        return sounds
    rows = [soxr.resample(np.ascontiguousarray(row), sample_rate, to) for row in sounds.cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).float()


def join_bands(low: Tensor, high: Tensor, sample_rate: int, band: float) -> Tensor:
    """`low` (B, S) up to about `band` Hz and `high` (B, S) above it, over a short cosine slope."""
    num = low.shape[-1]
    frequency = torch.fft.rfftfreq(num, 1 / sample_rate) / band
    begin, end = CROSSING
    kept = (1 + torch.cos(torch.pi * ((frequency - begin) / (end - begin)).clamp(0, 1))) / 2
    return torch.fft.irfft(torch.fft.rfft(low) * kept + torch.fft.rfft(high) * (1 - kept), n=num)
