"""The loss by timestep, gathered from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

NUM_TIMESTEP_BINS = 10


class LossByTimestep:
    """Sums of losses and their number in equal bins of the way to noise, (2, NUM_TIMESTEP_BINS)."""

    def __init__(self, num_train_timesteps: int) -> None:
        self.num_train_timesteps = num_train_timesteps
        self.bins = torch.zeros(2, NUM_TIMESTEP_BINS)

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """Count what an objective says of each sample: "timestep" and "per_sample", both (B,); else nothing."""
        if "timestep" not in losses:
            return
        fraction = losses["timestep"].float() / self.num_train_timesteps
        places = (fraction * NUM_TIMESTEP_BINS).long().clamp(0, NUM_TIMESTEP_BINS - 1).cpu()
        self.bins[0].index_add_(0, places, losses["per_sample"].float().cpu())
        self.bins[1].index_add_(0, places, torch.ones(len(places)))

    def take(self, accelerator: Accelerator) -> list[float | None]:
        """The mean of each bin over all processes, None where nothing fell; then all are empty. [] without any."""
        if accelerator.num_processes > 1:
            self.bins = accelerator.reduce(self.bins.to(accelerator.device), "sum").cpu()
        if not self.bins[1].any():
            return []
        means = (self.bins[0] / self.bins[1].clamp(min=1)).tolist()
        found = [round(mean, 6) if n else None for mean, n in zip(means, self.bins[1], strict=True)]
        self.bins.zero_()
        return found
