"""Holding a known part of x_0 while the rest is sampled so that it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.diffusion.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Denoise = Callable[[Tensor, Tensor], Tensor]

NUM_CORRECTIONS = 2  # where the ideal denoiser's seams are as smooth as its insides; one leaves a third more
LEAST_COSINE = 0.1  # between what is missed and what it moves, below which a step would be too long to trust


def inpaint(
    process: Process, known: Tensor, keep: Tensor, num_corrections: int = NUM_CORRECTIONS
) -> Callable[[Denoise], Denoise]:
    """An `around` of `Pipeline.trajectory` that says x_0 = known (B, C, H, W) wherever keep (..., W) is True.

    The known part is put into the x_0 estimate of every step, in the form that the sampler takes. So its x_t is known
    plus the very noise that the walk began with (or that a stochastic sampler drew), as a training example's would be,
    by any sampler: where each estimate is the same, no solver of any order errs (after the replacement of Song et al.
    2021, score SDE, appendix I.2, which is made in x_t).

    That alone leaves the rest as if it had read the known part through the noise only, and more steps do not help. So
    the rest of the estimate is moved first to where the known part would be expected as it is, by the
    `reconstruction_guidance` of Ho et al. 2022 (video diffusion, eq. 7). 0 corrections leave it out.
    """
    given = Process(**(process.settings() | {"prediction_type": "sample"}))
    stated = Process(**(process.settings() | {"prediction_type": process.sampler_space}))

    def around(denoise: Denoise) -> Denoise:
        def held(x_t: Tensor, timestep: Tensor) -> Tensor:
            times = timestep.flatten()[:1].to(x_t.device)
            here, kept = known.to(x_t), keep.to(x_t.device)
            if not num_corrections:
                exact = given.convert(here, x_t.float(), times, process.sampler_space)
                return torch.where(kept, exact, denoise(x_t, timestep))
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                x_0 = stated.convert(denoise(x_t, timestep), x_t.float(), times, "sample")
            x_0 = torch.where(kept, here, reconstruction_guidance(x_0, x_t, here, kept, num_corrections))
            return given.convert(x_0, x_t.detach().float(), times, process.sampler_space)

        return held

    return around


def reconstruction_guidance(x_0: Tensor, x_t: Tensor, known: Tensor, keep: Tensor, num_steps: int) -> Tensor:
    """The estimate x_0 of x_t, both (B, C, H, W) with a graph between them, moved towards `known` where `keep`.

    Given x_t, x_0 is spread about its estimate with covariance C = sigma^2 / alpha dx_0 / dx_t (Tweedie), so that the
    best estimate that also knows y in some places is x_0 + C_k (C_kk)^-1 (y - x_0)_k. The inverse is approached by
    steps of conjugate gradients, each a product with C, that is: a backward pass. Its scale cancels out.
    """
    dims = tuple(range(1, x_0.ndim))

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dims, keepdim=True)  # (B, 1, 1, 1)

    moved = x_0.detach().clone()
    residual = torch.where(keep, known - moved, 0.0)
    direction, missed = residual, dot(residual, residual)
    for step in range(num_steps):
        (change,) = torch.autograd.grad(x_0, x_t, direction, retain_graph=step + 1 < num_steps)
        change = change.float()
        answer = torch.where(keep, change, 0.0)
        along = dot(direction, answer)
        least = LEAST_COSINE * (dot(direction, direction) * dot(answer, answer)).sqrt()
        size = torch.where((along > 0) & (least > 0), missed / torch.maximum(along, least), 0.0)
        size = size.nan_to_num(posinf=0.0)
        moved = moved + size * change
        residual = residual - size * answer
        left = dot(residual, residual)
        direction = residual + left / missed.clamp(min=1e-12) * direction
        missed = left
    return moved
