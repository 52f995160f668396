"""Classifier-free guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.types import Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Denoise = Callable[[Tensor, Tensor, Condition], Tensor]


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
        prediction = without + scale * (with_ - without)
        if rescale:
            dims = tuple(range(1, prediction.ndim))
            ratio = with_.std(dims, keepdim=True) / prediction.std(dims, keepdim=True)
            prediction = prediction * (rescale * ratio + 1 - rescale)
        return prediction

    return denoise_guided
