"""What a stage trains of its parts, the optimiser of it, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.config.build import suggestion
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from torch import nn

    from synesthete.config import Stage
    from synesthete.objectives import Parts

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


def groups_of(part: Any) -> dict[str, list[nn.Parameter]]:
    """The parameters of a part by the groups that it declares; those without any are left out."""
    groups = {name: list(parameters) for name, parameters in part.groups().items()}
    return {name: parameters for name, parameters in groups.items() if parameters}


def check_trainable(stage: Stage, known: Mapping[str, Iterable[str]]) -> None:
    """Make sure that there is what a stage is to train. known: the names of each part."""
    for name in stage.train:
        part = name.partition(".")[0]
        if name not in known[part]:
            raise InputError(f"stage {stage.name} trains {name!r}{suggestion(name, known[part])}")


def set_trainable(parts: Parts, stage: Stage) -> None:
    """Let what the stage trains learn, and freeze all else."""
    modules = parts.modules()
    groups = {f"{name}.{group}": own for name, part in modules.items() for group, own in groups_of(part).items()}
    known = {name: [name, *(group for group in groups if group.startswith(f"{name}."))] for name in modules}
    check_trainable(stage, known)
    for name, module in modules.items():
        module.requires_grad_(name in stage.train)
    for name in stage.train:
        for parameter in groups.get(name, ()):
            parameter.requires_grad_(True)


def select_captions(prepared: Prepared, captions: tuple[str, ...] | None) -> Prepared:
    """The data with those captions alone, where the stage names some."""
    if captions is None:
        return prepared
    known = {name: getattr(prepared, name) for name in ("train", "test", "speakers")}
    chosen = {name: samples.with_captions(captions) for name, samples in known.items() if samples is not None}
    return replace(prepared, **chosen)
