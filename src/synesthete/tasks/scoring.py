"""Ways of sampling a model, scored on the data of the recipe that it was made by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.tasks.task import task_of
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.evaluation.search.scoring import Scorer


def recipe_of(pipeline: Any, folder: Path, assignments: Sequence[str] | None = None) -> Recipe:
    """The recipe a model was made by: beside it, or the one of the package that its card names."""
    from synesthete.recipes import RECIPES, find_recipe

    named = str(pipeline.config.card.get("recipe"))
    if (folder / "recipe.yaml").is_file():
        named = str(folder)
    elif named not in RECIPES:
        raise InputError(f"{folder}: no recipe.yaml in it, so its data are unknown; copy the one of its run there")
    return find_recipe(named, assignments or ())


def scorer_of(
    pipeline: Any, folder: Path, recipe: Recipe, progress: Progress, *, data: Path | None = None, features: str = "auto"
) -> Scorer:
    """What scores ways of sampling a model. folder: of the model. data: as the `folder` of `Task.prepare`.

    Raises:
        InputError: data or features that cannot be had.
    """
    from synesthete.evaluation.search.scoring import Scorer

    task = task_of(recipe)
    prepared, saved = task.prepare(recipe, data, progress), task.load_classifier(folder)
    return Scorer(pipeline, task.scoring_basis(pipeline, prepared, features=features, saved=saved, progress=progress))
