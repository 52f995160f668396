"""Optimisers and the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from synesthete.config import Stage


def make_optimisers(module: nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    """AdamW for all that requires a gradient, or Muon for the matrices inside blocks and AdamW for the rest.

    Muon: Jordan et al. 2024; it makes the update of a matrix orthogonal, so it is meant for hidden layers, not for
    embeddings, modulation and the output.
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    hidden = [p for name, p in trained if p.ndim == 2 and ".blocks." in f".{name}"] if stage.muon_learning_rate else []
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in trained if id(p) not in chosen]
    decayed, plain = [p for p in rest if p.ndim >= 2], [p for p in rest if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": stage.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=stage.learning_rate, betas=stage.betas, fused=True)
    ]
    if stage.muon_learning_rate:
        optimisers.append(
            torch.optim.Muon(hidden, lr=stage.muon_learning_rate, weight_decay=stage.weight_decay, momentum=0.95)
        )
    return optimisers


def schedule(step: int, stage: Stage) -> float:
    """Learning rate of optimiser step `step` (from 0) as a share of the peak: linear warm-up, then half a cosine.

    The last step has exactly `min_learning_rate`.
    """
    lowest = stage.min_learning_rate / stage.learning_rate
    if step >= stage.num_steps - 1:  # also where the warm-up is as long as the stage
        return lowest
    if step < stage.num_warmup_steps:
        return (step + 1) / stage.num_warmup_steps
    length = max(stage.num_steps - 1 - stage.num_warmup_steps, 1)
    progress = min((step - stage.num_warmup_steps) / length, 1.0)
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rates(optimisers: list[torch.optim.Optimizer], step: int, stage: Stage) -> None:
    """Give every group the rate of this step."""
    share = schedule(step, stage)
    for optimiser in optimisers:
        peak = stage.muon_learning_rate if isinstance(optimiser, torch.optim.Muon) else stage.learning_rate
        for group in optimiser.param_groups:
            group["lr"] = (peak or 0.0) * share
