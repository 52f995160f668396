"""The parts of a recipe made, loaded, and put together into a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.diffusion.sampling import make_scheduler
from synesthete.objectives import Parts
from synesthete.pipeline import Pipeline
from synesthete.training.checkpoints import reading
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.preparation import Prepared


def make_parts(recipe: Recipe, prepared: Prepared) -> Parts:
    """The recipe's parts with fresh weights, which depend on the seed alone; the codec as measured."""
    torch.manual_seed(seeding.derive(recipe.seed, "weights"))
    parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
    parts.codec.load_state_dict(prepared.statistics)
    return parts


def load_weights(parts: Parts, model: Path) -> None:
    """Begin with the weights of a finished model.

    Raises:
        InputError: a model whose parts have other shapes.
    """
    pipeline = Pipeline.load(str(model))
    for name in ("conditioner", "denoiser"):
        try:
            parts.modules()[name].load_state_dict(getattr(pipeline, name).state_dict())
        except RuntimeError as error:
            raise InputError(
                f"{model}: its {name} does not fit this recipe ({str(error).splitlines()[-1].strip()})"
            ) from None


def make_pipeline(recipe: Recipe, parts: Parts, class_names: tuple[str, ...]) -> Pipeline:
    """The parts as a pipeline with the recipe's sampling settings."""
    sampling = dict(vars(recipe.sampling))
    card = {"recipe": recipe.name, "class_names": list(class_names)}
    return Pipeline(
        parts.codec,
        parts.conditioner,
        parts.denoiser,
        make_scheduler(recipe.sampling.sampler, parts.process, shift=recipe.sampling.timestep_shift),
        process=parts.process.settings(),
        sampling=sampling,
        card=card,
    )


def load_checkpoint(parts: Parts, checkpoint: Path) -> None:
    """The weights of a checkpoint of any stage into the parts.

    Raises:
        InputError: damaged files, or weights of another shape.
    """
    with reading(checkpoint):
        weights = load_file(checkpoint / "model.safetensors")
        for name, module in parts.modules().items():
            own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
            module.load_state_dict(own)
