"""The optimiser and the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from synesthete.config import Stage

__all__ = ["schedule"]


def make_optimiser(module: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """AdamW over all that requires a gradient; vectors (biases, norms) are not decayed."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=stage.learning_rate, betas=stage.betas, fused=True
    )


def schedule(step: int, stage: Stage) -> float:
    """Learning rate of optimiser step `step` (from 0) as a share of the peak: linear warm-up, then half a cosine.

    The last step, and the last before each of `cosine_restarts`, has exactly `min_learning_rate`.
    """
    restarts = [restart for restart in stage.cosine_restarts if restart < stage.num_steps]
    begin = max((restart for restart in restarts if restart <= step), default=0)
    num_steps = min((restart for restart in restarts if restart > step), default=stage.num_steps) - begin
    step -= begin
    lowest = stage.min_learning_rate / stage.learning_rate
    if step >= num_steps - 1:  # also where the warm-up is as long as the stage
        return lowest
    if step < stage.num_warmup_steps:
        return (step + 1) / stage.num_warmup_steps
    length = max(num_steps - 1 - stage.num_warmup_steps, 1)
    progress = min((step - stage.num_warmup_steps) / length, 1.0)
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, stage: Stage) -> None:
    """Give every group the rate of this step."""
    for group in optimiser.param_groups:
        group["lr"] = stage.learning_rate * schedule(step, stage)
