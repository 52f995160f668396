"""The model folders of a run: the model as it is now, and as each stage left it."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from synesthete.denoisers.denoiser import Denoiser
from synesthete.io import write_folder
from synesthete.objectives import Denoising, Parts
from synesthete.training.assembly import make_pipeline
from synesthete.training.optim import groups_of

if TYPE_CHECKING:
    from synesthete.config import Recipe, Stage
    from synesthete.training.weights import Weights

ADAPTERS = "adapters"


def denoises(stage: Stage) -> bool:
    """Whether a stage learns to denoise, whichever weights it moves."""
    target = stage.objective.target
    return inspect.isclass(target) and issubclass(target, Denoising)


def is_adapted(recipe: Recipe) -> bool:
    """Whether a published base is trained by adapters alone, so that they are all there is to keep."""
    target = recipe.denoiser.target
    if not (inspect.isclass(target) and issubclass(target, Denoiser) and target.has_base):
        return False
    if recipe.denoiser.network is not None:
        return False
    return not any(name in ("denoiser", "denoiser.base") for stage in recipe.stages for name in stage.train)


class Models:
    """What a stage of a run writes of what it has learned.

    `model`, whole, at every checkpoint, with `adapters` in it where a published base was adapted. Where several stages
    denoise, `after-<stage>` as well, at the end of each: a whole model, or adapters alone.

    Attributes:
        are_made: whether the stage writes any; an alignment leaves a denoiser that has learned nothing.
        go_on: whether stages follow that build on what these folders hold, the averaged weights.
    """

    def __init__(self, recipe: Recipe, stage: Stage, folder: Path, class_names: tuple[str, ...]) -> None:
        self.recipe, self.stage, self.folder, self.class_names = recipe, stage, folder, class_names
        making = [one for one in recipe.stages if denoises(one) or one.trains("denoiser") or one is recipe.stages[-1]]
        self.are_made = any(one is stage for one in making)
        self._is_last = making[-1] is stage
        several = sum(map(denoises, recipe.stages)) > 1
        self.go_on = several and stage is not recipe.stages[-1]
        self._end = folder / f"after-{stage.name}" if several and denoises(stage) else None

    def write(self, weights: Weights, now: bool = True, at_end: bool = False) -> None:
        """The model by the averaged weights where there are some: `now` as it is, `at_end` as the stage leaves it.

        The latter where several stages denoise.

        Raises:
            InputError: a full disk; what was there before is kept.
        """
        if not (now or at_end):
            return
        with weights.averaged() as parts:
            if parts is not None and now:
                write_folder(self.folder / "model", partial(self._fill, parts))
            if parts is not None and at_end and self._end is not None:
                alone = is_adapted(self.recipe) and set(groups_of(parts.conditioner)) <= {"sound"}
                write_folder(self._end, partial(self._fill, parts, whole=not alone))

    def mend(self, weights: Weights) -> None:
        """Write what the finished stage has to leave and somebody has removed.

        Raises:
            InputError: as `write`.
        """
        now = self._is_last and not (self.folder / "model").is_dir()
        self.write(weights, now, at_end=self._end is not None and not self._end.is_dir())

    def _fill(self, parts: Parts, folder: Path, whole: bool = True) -> None:
        """The pipeline and its adapters, and the recipe that it can be evaluated and repeated by."""
        dtype = getattr(torch, self.recipe.weights)
        pipeline = make_pipeline(self.recipe, parts, self.class_names, self.stage)
        if whole:
            pipeline.save(folder, dtype)
        if is_adapted(self.recipe):
            from synesthete.denoisers.adapters import save_adapters  # with diffusers' networks, which few models are of

            save_adapters(pipeline, folder / ADAPTERS if whole else folder, dtype)
        (folder / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")
