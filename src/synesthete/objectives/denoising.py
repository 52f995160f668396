"""What every objective is, and the diffusion loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from synesthete.config import Fraction  # noqa: TC001 (read when a recipe's field is set)
from synesthete.types import Batch, Condition, InputError

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process


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
