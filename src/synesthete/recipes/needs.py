"""What a training asks of a machine, known before anything is downloaded or run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synesthete.config import Recipe

NUMBER = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes


@dataclass(frozen=True)
class StageNeeds:
    """num_trained: parameters that a stage moves. num_steps: optimiser steps.

    least_memory: bytes of all weights, and of gradients, AdamW's two moments and averages of those that are trained;
    what a step computes with, and frozen encoders that stand outside of a model, come to it.
    """

    name: str
    num_trained: int
    num_steps: int
    least_memory: int


@dataclass(frozen=True)
class Needs:
    """Of a whole training.

    downloads: published weights by id, in bytes; None where nobody has written it down. checkpoints: bytes of those
    that are kept of all stages. model: bytes of the finished one.
    """

    stages: tuple[StageNeeds, ...]
    downloads: Mapping[str, int | None]
    checkpoints: int
    model: int


def find_needs(recipe: Recipe) -> Needs:
    """What a recipe's training needs, from parts made without memory for their weights.

    Raises:
        InputError: a part that cannot be made.
    """
    from synesthete import hub
    from synesthete.config.recipe import KEEP_CHECKPOINTS
    from synesthete.objectives import Parts
    from synesthete.recipes.fit import build_on_meta
    from synesthete.training.optim import set_trainable

    parts = Parts(*(build_on_meta(recipe, name) for name in ("codec", "conditioner", "denoiser", "process")))
    every = [p for module in parts.modules().values() for p in module.parameters()]
    num_weights = sum(p.numel() for p in every)
    stages = []
    for stage in recipe.stages:
        set_trainable(parts, stage)
        if stage.num_views:
            parts.conditioner.freeze()
        num_trained = sum(p.numel() for p in every if p.requires_grad)
        kept = 3 + (stage.ema_decay is not None)  # numbers beside each trained weight
        stages.append(StageNeeds(stage.name, num_trained, stage.num_steps, 4 * (num_weights + kept * num_trained)))
    named = json.dumps(recipe.to_dict())
    downloads = {name: hub.PRETRAINED[name].num_bytes for name in sorted(hub.PRETRAINED) if f'"{name}"' in named}
    codec = parts.codec.config
    if getattr(codec, "vocoder", None) == "auto":  # it is used where it is there, and never fetched
        downloads.pop(codec.vocos, None)
    # As in memory, but without gradients.
    checkpoints = KEEP_CHECKPOINTS * sum(stage.least_memory - 4 * stage.num_trained for stage in stages)
    return Needs(tuple(stages), downloads, checkpoints, NUMBER[recipe.weights] * num_weights)


def describe_needs(needs: Needs) -> list[str]:
    """Lines for people."""
    width = max(len(stage.name) for stage in needs.stages)
    lines = [f"  needs       {sum(stage.num_steps for stage in needs.stages):,} steps in all"]
    lines += [
        f"      {stage.name:<{width}}  {stage.num_steps:,} steps, {stage.num_trained:,} parameters trained, "
        f"{gigabytes(stage.least_memory)} of memory and what a step computes with (--cost)"
        for stage in needs.stages
    ]
    if needs.downloads:
        known = sum(size or 0 for size in needs.downloads.values())
        each = ", ".join(name + (f" {gigabytes(size)}" if size else "") for name, size in needs.downloads.items())
        lines.append(f"      disk: downloads of {gigabytes(known)} ({each})" if known else f"      downloads: {each}")
    lines.append(f"      disk: checkpoints {gigabytes(needs.checkpoints)}, the finished model {gigabytes(needs.model)}")
    return lines


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
