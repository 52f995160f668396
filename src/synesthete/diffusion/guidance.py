"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.types import Condition

if TYPE_CHECKING:
    Denoise = Callable[[Tensor, Tensor, Condition], Tensor]

__all__ = ["guided", "guided_by_two"]


def guided(
    denoise: Denoise,
    condition: Condition,
    null: Condition,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
    *,
    rescale: float = 0.0,
    num_train_timesteps: int = 1000,
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser of (x_t, timestep) that moves `scale` times from the null's prediction to the condition's.

    Both predictions come out of one batched forward. Off at scale 1.0 and outside `interval`, fractions of the way to
    noise, where the null costs nothing. Scale 0.0 is the null's prediction alone, everywhere. Source: Ho & Salimans
    2022; interval: Kynkäänniemi et al. 2024; `rescale`: Lin et al. 2024 (section 3.4).
    """
    if scale in (0.0, 1.0):
        only = condition if scale else null
        return lambda x_t, timestep: denoise(x_t, timestep, only)
    low, high = (fraction * num_train_timesteps for fraction in interval)
    both = Condition.concatenate([null, condition])

    def denoise_guided(x_t: Tensor, timestep: Tensor) -> Tensor:
        if not low <= float(timestep.flatten()[0]) <= high:
            return denoise(x_t, timestep, condition)
        twice = torch.cat([timestep, timestep]) if timestep.ndim else timestep
        without, with_ = denoise(torch.cat([x_t, x_t]), twice, both).chunk(2)
        return rescaled(without + scale * (with_ - without), with_, rescale)

    return denoise_guided


def guided_by_two(
    denoise: Denoise,
    branches: tuple[Condition, Condition, Condition],
    scale: float,
    audio_scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
    *,
    rescale: float = 0.0,
    num_train_timesteps: int = 1000,
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser of (x_t, timestep) that is led by a text `scale` times and by a sound beside it `audio_scale` times.

    branches: told nothing, told the text, told the text and the sound. The prediction is
    none + scale * (text - none) + audio_scale * (both - text), out of one batched forward of the branches that this
    needs: all three, or fewer where audio_scale is 0, scale is 1, the scales are equal, or two branches are the same
    object. Outside `interval` it is the prediction of both, or of the text where audio_scale is 0. Source: conditions
    dropped one by one, Brooks et al. 2023 (InstructPix2Pix, section 3.2.1); the rest as `guided`.
    """
    none, text, both = branches
    pair: tuple[Condition, Condition, float] | None = None
    if text is none or scale == audio_scale:
        pair = both, none, audio_scale
    elif both is text or audio_scale == 0:
        pair = text, none, scale
    elif scale == 1:
        pair = both, text, audio_scale
    if pair is not None:
        return guided(denoise, *pair, interval, rescale=rescale, num_train_timesteps=num_train_timesteps)
    low, high = (fraction * num_train_timesteps for fraction in interval)
    all_three = Condition.concatenate(branches)

    def denoise_guided(x_t: Tensor, timestep: Tensor) -> Tensor:
        if not low <= float(timestep.flatten()[0]) <= high:
            return denoise(x_t, timestep, both)
        thrice = torch.cat([timestep] * 3) if timestep.ndim else timestep
        without, with_text, with_both = denoise(torch.cat([x_t] * 3), thrice, all_three).chunk(3)
        prediction = without + scale * (with_text - without) + audio_scale * (with_both - with_text)
        return rescaled(prediction, with_both, rescale)

    return denoise_guided


def rescaled(prediction: Tensor, plain: Tensor, share: float) -> Tensor:
    """A guided prediction, `share` of it given the spread of the plain one, sample by sample."""
    if not share:
        return prediction
    dims = tuple(range(1, prediction.ndim))
    ratio = plain.std(dims, keepdim=True) / prediction.std(dims, keepdim=True)
    return prediction * (share * ratio + 1 - share)
