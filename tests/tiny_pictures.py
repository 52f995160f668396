"""A picture recipe that is made and trained in seconds: swatches of three colours, 8x8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import tasks
from synesthete.config import build
from synesthete.data.synthetic import Swatches
from synesthete.recipes import find_recipe
from synesthete.training.assembly import make_parts, make_pipeline
from tiny import awake

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.objectives import Parts
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

COLOURS = ("red", "green", "blue")


def tiny_recipe(*assignments: str) -> Recipe:
    """Swatches of three classes through a U-Net of one level."""
    recipe = find_recipe("images-photos-debug")
    recipe.name = "tiny-pictures"
    recipe.data.sources = (build(Swatches, class_names=COLOURS, num_train=20, num_test=8, size=8),)
    recipe.data.class_names = COLOURS
    recipe.conditioner.num_classes = 3
    recipe.codec.size, recipe.denoiser.sample_size = 8, (8, 8)
    recipe.denoiser.channels, recipe.denoiser.attention_levels = (8,), (0,)
    recipe.stages[0].precision = "no"
    for assignment in assignments:
        recipe.set(assignment)
    return recipe


def tiny_prepared(folder: Path | None = None, *assignments: str) -> Prepared:
    """Its data; in the tests' own cache where no folder is given."""
    return tasks.prepare(tiny_recipe(*assignments), folder)


def tiny_pipeline(recipe: Recipe | None = None, **process: Any) -> Pipeline:
    """An untrained model whose output depends on what it is told; process: fields to change."""
    recipe = recipe or tiny_recipe()
    for name, value in process.items():
        setattr(recipe.process, name, value)
    parts: Parts = awake(make_parts(recipe, tasks.prepare(recipe)))
    for module in parts.modules().values():
        module.eval()
    return make_pipeline(recipe, parts, recipe.data.class_names)


def labels_in_turn(num: int) -> torch.Tensor:
    """(num,) labels, one class after the other."""
    return torch.arange(num) % len(COLOURS)
