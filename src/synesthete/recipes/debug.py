"""Debug twins: recipes of the same classes at a size that runs in seconds, on data that are at hand everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.config import Recipe, Sampling, build
from synesthete.config.build import Build
from synesthete.data.synthetic import Swatches

if TYPE_CHECKING:
    from collections.abc import Mapping


def shrink(recipe: Recipe, num_steps: int = 6, batch_size: int = 16, **parts: Mapping[str, Any]) -> Recipe:
    """The recipe, made its own debug twin: `num_steps` of each stage, and the given fields of parts changed."""
    recipe.name += "-debug"
    for stage in recipe.stages:
        stage.num_steps, stage.batch_size, stage.num_warmup_steps = num_steps, batch_size, 2
        stage.checkpoint_every, stage.preview_every, stage.log_every = num_steps // 2, num_steps, 1
    change(recipe, parts)
    return recipe


def change(part: Any, fields: Mapping[str, Any]) -> None:
    """Set fields of a part, and those of parts in it."""
    for name, value in fields.items():
        if isinstance(current := getattr(part, name), Build | Sampling):
            change(current, value)
        else:
            setattr(part, name, value)


def swatches(recipe: Recipe, num_train: int, num_test: int) -> Build:
    """Swatches of colour in place of photographs, which are not at hand everywhere."""
    return build(Swatches, class_names=recipe.data.class_names, num_train=num_train, num_test=num_test)
