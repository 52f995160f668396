"""What several recipes are made of, their debug twins, and the stage `fast` that any can end with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from synesthete.config import Build, Recipe, Sampling, Stage, build
from synesthete.data.synthetic import Swatches
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising, Distillation
from synesthete.types import InputError


def denoise(num_steps: int, batch_size: int, learning_rate: float, **more: Any) -> Stage:
    """The stage that learns to denoise."""
    how = {"num_warmup_steps": 200, "ema_decay": 0.998} | more
    objective = how.pop("objective", None) or build(Denoising)
    return Stage("denoise", objective, num_steps=num_steps, batch_size=batch_size, learning_rate=learning_rate, **how)


def preconditioned_flow(mean: float = -0.5, std: float = 1.5) -> Build:
    """A flow whose network says what x_t lacks of x_0, asked at every level of noise."""
    return build(
        Process,
        schedule="flow",
        preconditioned=True,
        timestep_sampling="logit_normal",
        timestep_mean=mean,
        timestep_std=std,
        uniform_share=0.5,
        min_sigma=1e-3,
    )


def ten_steps(guidance_scale: float, sampler: str = "flow-dpmsolver++", **more: Any) -> Sampling:
    """Ten steps of a flow, most of them near noise, where alone it is guided."""
    how: dict[str, Any] = {"guidance_scale": guidance_scale, "guidance_interval": (0.6, 1.0)} | more
    return Sampling(sampler=sampler, num_inference_steps=10, timestep_shift=3.0, **how)


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


FAST = "fast"


def add_fast(recipe: Recipe) -> None:
    """End a recipe with a stage `fast` that teaches its model few steps, guided as it samples; one there is kept.

    It has a quarter of the steps that the denoiser was trained for; making its pairs takes about half as long as these.
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
