"""Untrained models of a few thousand weights, whose output depends on what they are told."""

from __future__ import annotations

from typing import Any

import torch

from synesthete.codecs.pixels import PixelCodec
from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Labels, Unconditional
from synesthete.conditioning.low_band import LowBand
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler
from synesthete.pipeline import Pipeline

COLOURS = ("red", "green", "blue")
TOLD = {"condition_width": 16, "pooled_width": 16, "num_heads": 2}
UNET = {"channels": (8, 16), "num_blocks": 1, "attention_levels": (1,)}
SOUND = {"num_samples": 2000, "sample_rate": 8000, "n_fft": 60, "hop_length": 36}


def assembled(codec: Any, conditioner: Any, denoiser: Any, process: Process, **sampling: Any) -> Pipeline:
    generator = torch.Generator().manual_seed(0)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1, generator=generator)
    for part in (codec, conditioner, denoiser):
        part.eval()
    sampler = "flow-euler" if process.schedule == "flow" else "ddim"
    settings = {"sampler": sampler, "num_inference_steps": 5} | sampling
    names = list(COLOURS) if isinstance(conditioner, Labels) else []
    return Pipeline(
        codec=codec,
        conditioner=conditioner,
        denoiser=denoiser,
        scheduler=make_scheduler(sampler, process),
        process=process.settings(),
        sampling=settings,
        card={"recipe": "tiny", "task": "images", "class_names": names},
    )


def pictures(**sampling: Any) -> Pipeline:
    """Classes, v-prediction on a cosine schedule, a U-Net."""
    torch.manual_seed(0)
    process = Process("cosine", "v_prediction", zero_terminal_snr=True)
    denoiser = UNet((8, 8), 3, **UNET, **TOLD, squeeze_excitation=True)
    settings = {"guidance_scale": 2.5, "guidance_interval": (0.2, 0.9), "guidance_rescale": 0.5}
    return assembled(PixelCodec(8, 3), Labels(3, 16), denoiser, process, **settings | sampling)


def flow(**sampling: Any) -> Pipeline:
    """Classes, x_0-prediction on a flow, a transformer over patches that do not divide the grid."""
    torch.manual_seed(0)
    denoiser = DiT((10, 12), (4, 4), 1, 16, 1, mlp_ratio=2.0, **TOLD)
    settings = {"guidance_scale": 2.0, "guidance_rescale": 0.5}
    return assembled(PixelCodec((10, 12), 1), Labels(3, 16), denoiser, Process("flow", "sample"), **settings | sampling)


def cells(**sampling: Any) -> Pipeline:
    """Classes, a preconditioned network on a cosine schedule, an hourglass over cells that do not divide the grid."""
    torch.manual_seed(0)
    denoiser = Hourglass((10, 11), (2, 2), (2, 2), 1, 16, 1, width=16, depth=1, **TOLD)
    process = Process("cosine", preconditioned=True)
    return assembled(PixelCodec((10, 11), 1), Labels(3, 16), denoiser, process, guidance_scale=2.0, **sampling)


def music(codec: Any = None, **sampling: Any) -> Pipeline:
    """No condition, complex spectrograms, the velocity of a flow, a transformer."""
    torch.manual_seed(0)
    codec = codec or StftCodec(**SOUND, kind="complex", multiple=2)
    channels, *size = codec.shape
    told = {"condition_width": None, "pooled_width": None}
    denoiser = DiT(tuple(size), (4, 4), channels, 16, 1, num_heads=2, mlp_ratio=2.0, **told)
    return assembled(codec, Unconditional(), denoiser, Process("flow", "flow"), **sampling)


def upsampler() -> Pipeline:
    """Told a low band."""
    torch.manual_seed(0)
    codec, conditioner = StftCodec(**SOUND), LowBand(**SOUND, low_rate=2000)
    unet = UNet(codec.shape[1:], 1, **UNET, num_heads=2, condition_width=None, pooled_width=None, spatial_channels=2)
    return assembled(codec, conditioner, unet, Process("flow", "sample"), guidance_scale=1.0)
