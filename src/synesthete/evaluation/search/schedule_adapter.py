"""A model walked along a noise schedule that it was not trained with, told the noise level that there really is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synesthete.config import Sampling
from synesthete.diffusion.process import Process
from synesthete.pipeline import Pipeline
from synesthete.types import Condition, InputError

DEFAULT_SAMPLER = {"flow": "flow-euler", "cosine": "ddim", "linear": "ddim", "scaled_linear": "ddim"}
MOST_SIGNAL = 0.05  # left at the end of a schedule that can pass for pure noise
LEAST = 1e-8  # level whose logarithm is taken


class ScheduleAdapter(Pipeline):
    """The same parts, sampled on another schedule than `trained`.

    A network that was trained on x_t = alpha x_0 + sigma noise knows a noise level by sigma / alpha alone: scaling x_t
    scales both (Karras et al. 2022, section 4). So each step of the walk is told the trained timestep whose ratio is
    nearest, x_t is brought to the size it has there, and what is predicted is said again in the walk's terms.
    """

    trained: Process

    @staticmethod
    def of(pipeline: Pipeline, schedule: str) -> ScheduleAdapter:
        """`pipeline` on another schedule of as many timesteps, which ends in pure noise.

        Raises:
            InputError: a model whose own schedule ends before pure noise, where every sample begins.
        """
        trained = pipeline.process
        alpha, _ = trained.alpha_sigma(trained.at(torch.tensor([1.0])))
        if (left := float(alpha)) > MOST_SIGNAL:
            raise InputError(
                f"schedule {schedule!r}: this model's own, {trained.schedule!r}, ends with {left:.0%} of the picture "
                "left, so it cannot be told of the pure noise that another begins with; leave the schedule out"
            )
        kept = ("guidance_scale", "guidance_interval", "guidance_rescale", "num_inference_steps", "precision")
        own = pipeline.sampling_settings()
        walk = ScheduleAdapter(
            codec=pipeline.codec,
            conditioner=pipeline.conditioner,
            denoiser=pipeline.denoiser,
            scheduler=pipeline.scheduler,
            process=walk_settings(schedule, trained),
            sampling=vars(Sampling(sampler=DEFAULT_SAMPLER[schedule])) | {name: own[name] for name in kept},
            card=dict(pipeline.config.card),
        )
        walk.trained = trained
        return walk

    def _denoise(self, x_t: Tensor, timestep: Tensor, condition: Condition, network: Any) -> Tensor:
        """As a pipeline's: velocity on a flow, v on a beta schedule."""
        timestep = timestep.to(x_t.device).expand(len(x_t))
        alpha, sigma = self.process.alpha_sigma(timestep)
        told = nearest_timestep(self.trained, alpha, sigma)  # (B,)
        trained_alpha, trained_sigma = self.trained.alpha_sigma(told)
        seen = x_t.float() * torch.hypot(trained_alpha, trained_sigma) / torch.hypot(alpha, sigma)
        prediction = self.trained.predict(network, seen, told, condition)
        x_0, noise = (self.trained.convert(prediction, seen, told, space) for space in ("sample", "epsilon"))
        return noise - x_0 if self.process.schedule == "flow" else alpha * noise - sigma * x_0


def walk_settings(schedule: str, trained: Process) -> dict[str, Any]:
    """The process to walk on: a flow, or a beta schedule that ends in pure noise as a flow does."""
    flow = schedule == "flow"
    return Process(
        schedule=schedule,  # type: ignore[arg-type]
        prediction_type="flow" if flow else "v_prediction",
        num_train_timesteps=trained.num_train_timesteps,
        zero_terminal_snr=not flow,
    ).settings()


def nearest_timestep(process: Process, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The timesteps (B,) of `process` whose ratio sigma / alpha is nearest, as a logarithm, to those given (B, ...)."""
    alpha, sigma = alpha.flatten(), sigma.flatten()
    if process.alphas_cumprod is None:
        return process.num_train_timesteps * sigma / (alpha + sigma)
    table = process.alphas_cumprod.to(alpha.device)
    known = table.sqrt().clamp(min=LEAST).log() - (1 - table).sqrt().clamp(min=LEAST).log()  # (T,)
    asked = alpha.clamp(min=LEAST).log() - sigma.clamp(min=LEAST).log()  # (B,)
    return (asked[:, None] - known).abs().argmin(dim=1)
