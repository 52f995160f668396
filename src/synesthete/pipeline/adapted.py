"""A model from its adapters alone: the base, its autoencoder and the frozen encoders are found by their ids."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from synesthete import hub
from synesthete.codecs.autoencoder import AutoencoderCodec, load_autoencoder
from synesthete.config import Sampling
from synesthete.config.build import restore_nested
from synesthete.denoisers.adapters import load_adapters, load_conditioner, read_adapter_index
from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.types import InputError

# Of adapters that tell of no sampling.
GUESSED: dict[str, Any] = {"sampler": "ddim", "num_inference_steps": 30, "guidance_scale": 7.5}


def adapted(folder: Path) -> dict[str, Any]:
    """The arguments of a `Pipeline` that hears as the adapters in a folder were trained to."""
    index = read_adapter_index(folder)
    base, told = index["base"]["model"], index.get("pipeline")
    if base is None or told is None:
        raise InputError(f"{folder}: adapters without a published base; load the model that they were saved with")
    codec = make_codec(told["codec"], told["statistics"], folder)
    conditioner = load_conditioner(folder)
    lora = index["lora"] or {"rank": None, "alpha": 32}
    channels, *sides = codec.shape
    denoiser = StableDiffusion(
        model=base,
        sample_size=tuple(sides),
        in_channels=channels,
        condition_width=conditioner.config.width,
        num_sound_tokens=index["num_sound_tokens"],
        gated=index["gated_width"] is not None,
        gated_width=index["gated_width"] or 1,
        lora_rank=lora["rank"],
        lora_alpha=lora["alpha"],
    ).eval()
    load_adapters(SimpleNamespace(denoiser=denoiser, conditioner=conditioner), folder)
    process, sampling = Process.of(told["process"]), told["sampling"] or vars(Sampling(**GUESSED))
    parts = {"codec": codec, "conditioner": conditioner, "denoiser": denoiser}
    scheduler = scheduler_for(vars(Sampling()) | sampling, process)
    return parts | {"scheduler": scheduler, "process": told["process"], "sampling": sampling, "card": told["card"]}


def make_codec(described: dict[str, Any], statistics: dict[str, list[float]], folder: Path) -> Any:
    """The codec that adapters were trained with: an autoencoder's weights from its own place, and what was measured."""
    where, has = f"{folder / hub.ADAPTERS_INDEX}: codec", ("encode", "decode")
    codec = restore_nested(described, where, "codec", has, "AutoencoderCodec").eval()
    if isinstance(codec, AutoencoderCodec) and codec.config.model is not None:
        load_autoencoder(codec.autoencoder, codec.config.model)
    elif next(codec.parameters(), None) is not None:
        raise InputError(f"{folder}: its codec was trained, too; load the model that they were saved with")
    for name, buffer in codec.named_buffers(recurse=False):
        if name in statistics:
            buffer.copy_(torch.tensor(statistics[name]).view_as(buffer))
    return codec
