"""What several recipes are made of."""

from __future__ import annotations

from typing import Any

from synesthete.config import Build, Sampling, Stage, build
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising


def denoise(num_steps: int, batch_size: int, learning_rate: float, **more: Any) -> Stage:
    """The stage that learns to denoise."""
    how = {"num_warmup_steps": 200, "ema_decay": 0.998} | more
    objective = how.pop("objective", None) or build(Denoising)
    return Stage("denoise", objective, num_steps=num_steps, batch_size=batch_size, learning_rate=learning_rate, **how)


def preconditioned_flow(mean: float = -0.5, std: float = 1.5) -> Build:
    """A flow whose network says what x_t lacks of x_0, asked at every level of noise."""
    return build(
        Process,
        schedule="flow",
        preconditioned=True,
        timestep_sampling="logit_normal",
        timestep_mean=mean,
        timestep_std=std,
        uniform_share=0.5,
        min_sigma=1e-3,
    )


def ten_steps(guidance_scale: float, sampler: str = "flow-dpmsolver++", **more: Any) -> Sampling:
    """Ten steps of a flow, most of them near noise, where alone it is guided."""
    how: dict[str, Any] = {"guidance_scale": guidance_scale, "guidance_interval": (0.6, 1.0)} | more
    return Sampling(sampler=sampler, num_inference_steps=10, timestep_shift=3.0, **how)
