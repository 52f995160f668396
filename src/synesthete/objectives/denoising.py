"""What every objective is, the diffusion loss, and what a model of many steps teaches one of few by its own samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from synesthete.config.recipe import Count, Fraction  # noqa: TC001 (read when a recipe's field is set)
from synesthete.diffusion.sampling import SAMPLERS, scheduler_for
from synesthete.types import Batch, Condition, InputError

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process

Step = Annotated[int, Field(ge=1, le=16)]


@dataclass
class Parts:
    """The parts of a recipe, made: what a pipeline is put together from."""

    codec: Any
    conditioner: Any
    denoiser: Any
    process: Process

    def modules(self) -> dict[str, nn.Module]:
        """The parts that have weights, by name."""
        return {"codec": self.codec, "conditioner": self.conditioner, "denoiser": self.denoiser}


class Objective(nn.Module):
    """Base of all objectives: `attach` gives it the parts, calling it gives {"loss": ..., named parts}."""

    def attach(self, parts: Parts) -> Objective:
        """Take the parts in, so that they are wrapped, moved and saved together with the objective."""
        self.parts = parts
        for name, module in parts.modules().items():
            self.add_module(name, module)
        return self

    def prepare(self, samples: Any) -> None:
        """Take from the training samples what the loss needs to know of them all."""

    def mask_condition(self, batch: Batch) -> Batch:
        """The batch with no more of its condition than this objective ever tells."""
        return batch


class Denoising(Objective):
    """The diffusion loss: mean square between the network's prediction and the target, in the process' loss space.

    Of notes that become unknown it is the cross-entropy (`NoteMasking`).

    Args:
        condition_dropout: share of samples that see the null condition, drawn per sample (Ho & Salimans 2022). Where
            the condition has two sources, share of each that is dropped, drawn for each by itself.
        sound_dropout: that share of the sounds, of a conditioner that reads text and sound; None: condition_dropout. 1
            never tells a sound, and computes none.
        class_weights: weigh each sample's loss so that every class weighs as much, however many samples it has.

    Raises:
        InputError: sound_dropout for a conditioner that hears nothing, or class_weights for samples that have none.
    """

    def __init__(
        self, condition_dropout: Fraction = 0.1, sound_dropout: Fraction | None = None, class_weights: bool = False
    ) -> None:
        super().__init__()
        self.condition_dropout, self.sound_dropout, self.class_weights = condition_dropout, sound_dropout, class_weights
        self.weights: Tensor | None = None

    def attach(self, parts: Parts) -> Objective:
        """As every objective."""
        if self.sound_dropout is not None and parts.conditioner.reads != "audio_text":
            kind = type(parts.conditioner).__name__
            raise InputError(f"sound_dropout {self.sound_dropout:g}: a {kind} hears no sound; leave it null")
        return super().attach(parts)

    def prepare(self, samples: Any) -> None:
        """Find the weight of each class (classes,), where they differ."""
        if not self.class_weights:
            return
        self.weights = samples.class_weights()
        if self.weights is None:
            raise InputError(
                f"class_weights: {type(samples).__name__} have none; --set stages.NAME.objective.class_weights=false"
            )

    def mask_condition(self, batch: Batch) -> Batch:
        """The batch without its sounds where none is ever told."""
        if self.sound_dropout != 1:
            return batch
        if batch.raw.text is None:
            raise InputError("sound_dropout 1 and no captions: nothing is told; give data.captions, or a lower share")
        return replace(batch, raw=replace(batch.raw, sound=None))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """{"loss", "per_sample" (B,), "timestep" (B,)}; all draws come from `generator`."""
        batch = self.mask_condition(batch)
        x_0 = batch.encode(self.parts.codec)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        timestep = self.parts.process.draw_timesteps(len(x_0), generator).to(x_0.device)
        conditioner = self.parts.conditioner
        condition = conditioner.drop(
            conditioner.encode(batch.raw, generator), batch.raw, generator, self.condition_dropout, self.sound_dropout
        )
        per_sample = denoising_error(self.parts, x_0, noise, timestep, condition)
        loss = per_sample if self.weights is None else self.weights.to(x_0.device)[batch.label] * per_sample
        return {"loss": loss.mean(), "per_sample": per_sample.detach(), "timestep": timestep}


def denoising_error(parts: Parts, x_0: Tensor, noise: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """The process' error of each sample (B,) at the given noise and timesteps (B,)."""
    x_t = parts.process.add_noise(x_0, noise, timestep)
    prediction = parts.process.predict(parts.denoiser, x_t, timestep, condition)
    return parts.process.error(prediction, x_0, noise, x_t, timestep)


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
