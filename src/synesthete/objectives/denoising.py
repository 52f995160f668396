"""The diffusion loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.objectives.objective import Objective
from synesthete.types import Condition

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process
    from synesthete.objectives.objective import Parts
    from synesthete.types import Batch


class Denoising(Objective):
    """The diffusion loss: mean square between the network's prediction and the target, in the process' loss space.

    Args:
        condition_dropout: share of samples that see the null condition, drawn per sample (Ho & Salimans 2022). Where
            the condition has two sources, share of each that is dropped, drawn for each by itself.
    """

    def __init__(self, condition_dropout: float = 0.1) -> None:
        super().__init__()
        self.condition_dropout = condition_dropout

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """{"loss", "per_sample" (B,), "timestep" (B,)}; all draws come from `generator`."""
        x_0 = self.encode(batch)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        timestep = self.parts.process.draw_timesteps(len(x_0), generator).to(x_0.device)
        condition = self._dropped(batch.raw, x_0.device, generator)
        per_sample = denoising_error(self.parts, x_0, noise, timestep, condition)
        return {"loss": per_sample.mean(), "per_sample": per_sample.detach(), "timestep": timestep}

    def _dropped(self, raw: Any, device: torch.device, generator: torch.Generator) -> Condition:
        conditioner, share = self.parts.conditioner, self.condition_dropout
        condition = conditioner.encode(raw)
        if hasattr(conditioner, "drop"):
            return conditioner.drop(condition, raw, generator, share)
        keep = (torch.rand(len(raw), generator=generator) >= share).to(device)
        return Condition.where(keep, condition, conditioner.null(len(raw)))


def denoising_error(
    parts: Parts, x_0: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor, condition: Condition
) -> torch.Tensor:
    """Mean square error of each sample (B,) in the process' loss space, at the given noise and timesteps (B,)."""
    x_t = parts.process.add_noise(x_0, noise, timestep)
    prediction = parts.denoiser(x_t, timestep, condition).float()
    return prediction_error(parts.process, prediction, x_0, noise, x_t, timestep)


def prediction_error(
    process: Process,
    prediction: torch.Tensor,
    x_0: torch.Tensor,
    noise: torch.Tensor,
    x_t: torch.Tensor,
    timestep: torch.Tensor,
) -> torch.Tensor:
    """Mean square error of each sample's prediction (B,) in the process' loss space."""
    prediction = process.convert(prediction, x_t, timestep, process.loss_space, process.min_sigma)
    if process.prediction_type == "sample" and process.loss_space != "sample":
        # Both sides through the same held division, else small sigmas would compare different things.
        target = process.convert(x_0, x_t, timestep, process.loss_space, process.min_sigma)
    else:
        target = process.target(x_0, noise, timestep)
    return (prediction - target).square().flatten(1).mean(dim=1)
