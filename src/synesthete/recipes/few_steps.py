"""The stage that any recipe can end with: few steps, learned from its own model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from synesthete.config import build
from synesthete.objectives import Distillation
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe

FAST = "fast"


def add_fast(recipe: Recipe) -> None:
    """End a recipe with a stage `fast` that teaches its model few steps, guided as it samples; one there is kept.

    It has a quarter of the steps that the denoiser was trained for; making its pairs takes about half as long as these.

    Raises:
        InputError: a recipe without a denoiser to teach.
    """
    if any(stage.name == FAST for stage in recipe.stages):
        return
    trained = [stage for stage in recipe.stages if stage.trains("denoiser")]
    if not trained:
        raise InputError(f"recipe {recipe.name} trains no denoiser, so there is none to make fast; leave {FAST} out")
    last, num_steps = trained[-1], max(1, trained[-1].num_steps // 4)
    fast = replace(
        last,
        name=FAST,
        objective=build(Distillation, num_inference_steps=2, num_pairs=4 * num_steps),
        train=("denoiser",),  # what is told stays as it was when the pairs were made
        num_steps=num_steps,
        learning_rate=last.learning_rate / 2,
        num_warmup_steps=10,
        cosine_restarts=(),
        ema_decay=0.99,
        num_views=0,
    )
    recipe.stages.append(fast)
