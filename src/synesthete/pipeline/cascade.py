"""Two models, one after the other: sound at a low rate, then its highs; and highs for any low-rate sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.io import read_json, write_file
from synesthete.pipeline.canvas import Canvas, Frames, encode_whole, resample
from synesthete.pipeline.long_form import CROSSFADE, WRAP, close_loop, sample_long_form
from synesthete.pipeline.pipeline import Output, Pipeline
from synesthete.types import InputError

OVERLAP = 0.25  # of a window with the next one
BATCH_SIZE = 8
# Where the given sound ends and the made one begins, as shares of the Nyquist frequency of the given: below the
# resampler's own slope.
CROSSING = (0.85, 0.92)
LEAST = 0.8  # of the rate that the model was trained for: the least that is known to work
KIND = "Cascade"


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
    rate, low_rate = pipeline.codec.spec.sample_rate, pipeline.conditioner.config.low_rate
    sounds = torch.atleast_2d(waveform.detach().cpu().float())  # (B, S)
    if not sounds.numel():
        raise InputError("a sound of 0 samples to upsample; record it again")
    if not torch.isfinite(sounds).all():
        raise InputError("a sound with NaN or infinite samples to upsample; mend it")
    if not LEAST * low_rate <= sample_rate < rate:
        why = "it has these highs already" if sample_rate >= rate else "too little is left of it"
        raise InputError(
            f"a sound at {sample_rate} Hz: {why}; this model makes {rate} Hz of {low_rate} Hz, resample to that first"
        )
    given = resample(sounds, sample_rate, rate)
    generators = list(generators or seeding.sample_generators(0, len(given)))
    x_0 = make_frames(pipeline, given, generators, batch_size, progress, **sampling)
    decode, length = pipeline.codec.decode, given.shape[-1]
    # One by one: the spectrum of a long sound is large.
    pairs = zip(x_0, generators, strict=True)
    whole = torch.cat([decode(one[None], [generator], num_samples=length).cpu() for one, generator in pairs])
    if join:
        whole = join_bands(given, whole, rate, sample_rate / 2)
    return whole.reshape(*waveform.shape[:-1], -1)


def check_upsampler(pipeline: Pipeline) -> None:
    """Raise InputError where a model does not make highs for a sound."""
    if pipeline.conditioner.reads != "sound" or "low_rate" not in pipeline.conditioner.config:
        kind = type(pipeline.conditioner).__name__
        raise InputError(f"this model reads {kind}, not a low-rate sound; give an upsampler, such as music-upsampler")


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
    fade = fade_weights(frames.whole, overlap, frames.edge)
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


def fade_weights(room: int, overlap: int, edge: int) -> Tensor:
    """Weights (room,) of a window's frames: up over the first `overlap` and down over the last, next to 0 at `edge`."""
    ramp = (torch.arange(room) + 1 - edge) / (overlap + 1 - 2 * edge)
    return torch.minimum(ramp, ramp.flip(0)).clamp(1e-4, 1)


def join_bands(low: Tensor, high: Tensor, sample_rate: int, band: float) -> Tensor:
    """`low` (B, S) up to about `band` Hz and `high` (B, S) above it, over a short cosine slope."""
    num = low.shape[-1]
    frequency = torch.fft.rfftfreq(num, 1 / sample_rate) / band
    begin, end = CROSSING
    kept = (1 + torch.cos(torch.pi * ((frequency - begin) / (end - begin)).clamp(0, 1))) / 2
    return torch.fft.irfft(torch.fft.rfft(low) * kept + torch.fft.rfft(high) * (1 - kept), n=num)


class Cascade:
    """A base that makes sound at a low rate, and an upsampler that adds what lies above it.

    Each is a whole model, trained and evaluated alone.

    Raises:
        InputError: an upsampler that reads no sound, or rates that do not rise.
    """

    def __init__(self, base: Pipeline, upsampler: Pipeline) -> None:
        check_upsampler(upsampler)
        low, high = Frames.of(base.codec).sample_rate, Frames.of(upsampler.codec).sample_rate
        if low >= high:
            raise InputError(
                f"an upsampler to {high} Hz after a model of {low} Hz: there is nothing to add; leave it out"
            )
        self.base, self.upsampler = base, upsampler

    @property
    def sample_rate(self) -> int:
        """Of what comes out, in Hz."""
        return self.upsampler.codec.spec.sample_rate

    @staticmethod
    def load(model: str, device: str | torch.device = "cpu") -> Cascade:
        """A cascade from the folder that `save` wrote, or from the Hub.

        Raises:
            InputError: no such folder, a folder of one model, or either part damaged.
        """
        folder = hub.find_model(model)
        if not is_cascade(folder):
            raise InputError(f"{model}: one model, not a cascade of two; load it as a Pipeline")
        return Cascade(*(Pipeline.load(str(folder / part), device) for part in ("base", "upsampler")))

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write both model folders, FOLDER/base and FOLDER/upsampler."""
        self.base.save(folder / "base", dtype)
        self.upsampler.save(folder / "upsampler", dtype)
        write_file(folder / hub.MODEL_INDEX, json.dumps({"_class_name": KIND}) + "\n")

    @torch.no_grad()
    def __call__(
        self,
        raw: Tensor,
        *,
        generators: Sequence[torch.Generator] | None = None,
        canvas: Canvas | None = None,
        **how: Any,
    ) -> Output:
        """Samples for a batch of the base's raw conditions: the waveform at `sample_rate`, and its x_0.

        generators: one a sample, of seed 0 where None; the upsampler goes on with them. canvas: what the base is to
            make, of any length; its own clip where None. how: as for `long_form_steps`, whose errors these are;
            sampling settings are the base's, the upsampler samples as it was saved.
        """
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        canvas = canvas or Canvas.unconditional(self.base.codec, len(raw))
        low = sample_long_form(self.base, raw, canvas, generators=generators, **how).signal
        return self.add_highs(low, generators, is_loop=canvas.is_loop)

    @torch.no_grad()
    def add_highs(
        self,
        low: Tensor,
        generators: Sequence[torch.Generator],
        *,
        is_loop: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Output:
        """Sound (B, S) at the base's rate, of any length -> the same at `sample_rate` with highs, and its x_0."""
        rate, length = self.base.codec.spec.sample_rate, low.shape[-1]
        around = min(round(WRAP * rate), length) if is_loop else 0
        ring = torch.cat([low[..., length - around :], low, low[..., :around]], dim=-1)
        signal = upsample(self.upsampler, ring, rate, generators=list(generators), progress=progress)
        if is_loop:
            num_samples, first = (round(samples * self.sample_rate / rate) for samples in (length, around))
            fade = round(CROSSFADE * self.sample_rate)
            signal = close_loop(signal[..., first : first + num_samples + fade], num_samples)
        return Output(signal, encode_whole(self.upsampler.codec, signal.to(self.upsampler.device)))


def is_cascade(folder: Path) -> bool:
    """Whether a model folder holds two models."""
    try:
        index = read_json(folder / hub.MODEL_INDEX)
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("_class_name") == KIND
