"""From a model of many steps to one of few: what it learns from its own samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from synesthete.config.recipe import Count, Fraction  # noqa: TC001 (read when a recipe's field is set)
from synesthete.diffusion.sampling import SAMPLERS, scheduler_for
from synesthete.objectives.denoising import Denoising
from synesthete.types import Batch, Condition, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.diffusion.process import Process
    from synesthete.objectives.denoising import Objective, Parts

Step = Annotated[int, Field(ge=1, le=16)]


class Distillation(Denoising):
    """Teaches the denoiser to make in few steps what the model that it begins with makes of the same noise in many.

    That model walks noise to x_0 first, without chance and guided as it samples, `num_pairs` times
    (`training.precompute`). Where a walk of few steps asks the network, at pure noise above all, it then learns to
    guess the x_0 of the very noise that it is shown, in place of the mean of all that it might be: mean square error
    of x_0. After the first step that is shown to it through the true x_0 or, `own_share` of the time, through its own
    guess from pure noise, which is what a walk goes on from. What it was guided by becomes part of it; it is asked once
    a step, and cannot be guided otherwise.

    Source: pairs of noise and sample, Luhman & Luhman 2021 (section 3), on the straight lines between them, Liu et al.
    2022 (rectified flow, section 2.1, "reflow" with distillation), which a walk of several steps goes along.

    Args:
        steps: numbers of steps that it learns to sample in, each as often.
        num_inference_steps: that the finished model samples in unless told otherwise; the most of `steps` where None.
        num_pairs: of noise and x_0. own_share: of the samples after the first step.

    Raises:
        InputError: no steps, or a number of steps that is not learned.
    """

    def __init__(
        self,
        steps: tuple[Step, ...] = (1, 2, 4),
        num_inference_steps: Step | None = None,
        num_pairs: Count = 4096,
        own_share: Fraction = 0.5,
    ) -> None:
        super().__init__(condition_dropout=0.0)
        if not steps:
            raise InputError("steps []: nothing to learn; give numbers of steps, such as [1,2,4]")
        if num_inference_steps not in (None, *steps):
            raise InputError(f"num_inference_steps {num_inference_steps}: not among steps {list(steps)}; add it there")
        self.steps, self.num_pairs, self.own_share = steps, num_pairs, own_share
        self.num_inference_steps = num_inference_steps or max(steps)

    def attach(self, parts: Parts) -> Objective:
        """As every objective."""
        if not parts.process.is_gaussian:
            raise InputError("few steps are learned of walks without chance, and notes are drawn by chance; leave it")
        walks = [scheduler_for(few_steps(parts.process, num), parts.process) for num in self.steps]
        self.grids = [torch.as_tensor(walk.timesteps) for walk in walks]
        return super().attach(parts)

    def draw_timesteps(self, num: int, generator: torch.Generator) -> Tensor:
        """(num,) timesteps at which walks of the `steps` ask the network: each walk as often, its places too."""
        which = torch.randint(len(self.grids), (num,), generator=generator)
        share = torch.rand(num, generator=generator)
        grids = [self.grids[place] for place in which.tolist()]
        places = [int(part * len(grid)) for part, grid in zip(share.tolist(), grids, strict=True)]
        return torch.stack([grid[place] for grid, place in zip(grids, places, strict=True)])

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """{"loss", "per_sample" (B,), "timestep" (B,)}; all draws come from `generator`.

        batch: x_0, the noise that it was walked from, and the condition that it was told; of a batch of samples, to
        try what a step costs, the latter two are made.
        """
        batch, process = self.mask_condition(batch), self.parts.process
        x_0 = batch.encode(self.parts.codec)
        noise = batch.noise
        if noise is None:
            noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        timestep = self.draw_timesteps(len(x_0), generator).to(x_0.device)
        condition = batch.raw
        if not isinstance(condition, Condition):
            condition = self.parts.conditioner.encode(condition, generator)
        through = x_0.clone()
        first = self.grids[0][0].to(timestep)
        own = (timestep < first) & (torch.rand(len(x_0), generator=generator) < self.own_share).to(timestep.device)
        if own.any():
            with torch.no_grad():
                through[own] = self.guess(noise[own], first.expand(int(own.sum())), condition[own])
        guess = self.guess(process.add_noise(through, noise, timestep), timestep, condition)
        per_sample = (guess - x_0).square().flatten(1).mean(dim=1)
        return {"loss": per_sample.mean(), "per_sample": per_sample.detach(), "timestep": timestep}

    def guess(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """The network's x_0 (B, C, H, W) at x_t and timesteps (B,)."""
        prediction = self.parts.process.predict(self.parts.denoiser, x_t, timestep, condition)
        return self.parts.process.convert(prediction, x_t, timestep, "sample")


def few_steps(process: Process, num: int) -> dict[str, Any]:
    """The sampling settings of a walk in `num` steps, straight on and without chance."""
    name = "flow-euler" if process.schedule == "flow" else "ddim"
    settings: dict[str, Any] = {"sampler": name, "num_inference_steps": num, "timestep_spacing": "trailing"}
    return settings | {"timestep_shift": 1.0, "solver_order": None, "eta": 0.0}


def without_chance(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling settings with a sampler that makes one x_0 of one noise: their own where it does."""
    name = settings["sampler"]
    if name != "ddpm" and "sde" not in name:
        return {**settings, "eta": 0.0}
    solver = "flow-dpmsolver++" if SAMPLERS[name].family == "flow" else "dpmsolver++"
    return {**settings, "sampler": solver, "solver_order": None, "eta": 0.0}
