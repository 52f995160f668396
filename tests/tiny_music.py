"""A recipe of music that is prepared in a moment: 0.5 s at 4 kHz."""

from __future__ import annotations

from typing import Any

from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Unconditional
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.music import Music
from synesthete.data.synthetic import Tones
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising

RATE, LENGTH = 4000, 2000


def tiny_music(**data: Any) -> Recipe:
    """Tones, or what `data` says, through a spectrogram codec."""
    data = {"sources": (build(Tones, num=7, seconds=2.0, sample_rate=RATE),), "stride": 0.5, **data}
    return Recipe(
        name="tiny-music",
        task="music",
        data=build(Music, **data),
        codec=build(StftCodec, num_samples=LENGTH, sample_rate=RATE, n_fft=128, hop_length=64, num_bins=64),
        conditioner=build(Unconditional),
        denoiser=build(
            UNet,
            sample_size=(64, 32),
            in_channels=1,
            channels=(8, 8),
            attention_levels=(),
            condition_width=None,
            pooled_width=None,
        ),
        process=build(Process),
        stages=[Stage("denoise", build(Denoising))],
        sampling=Sampling(),
    )
