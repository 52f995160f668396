"""Ways of sampling a model, scored on the data of the recipe that it was made by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synesthete.tasks.task import task_of
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.evaluation.classifiers.speech import Prediction
    from synesthete.evaluation.search.scoring import Scorer
    from synesthete.tasks.model import Model


def recipe_of(pipeline: Any, folder: Path, assignments: Sequence[str] | None = None) -> Recipe:
    """The recipe a model was made by: beside it, or the one of the package that its card names."""
    from synesthete.recipes import RECIPES, find_recipe

    named = str(pipeline.config.card.get("recipe"))
    if (folder / "recipe.yaml").is_file():
        named = str(folder)
    elif named not in RECIPES:
        raise InputError(f"{folder}: no recipe.yaml in it, so its data are unknown; copy the one of its run there")
    return find_recipe(named, assignments or ())


def seen_in(model: Model, paths: Sequence[Path]) -> list[Prediction]:
    """What the classifier beside a model takes pictures for, of its own size; nothing where there is none for them."""
    from synesthete.data.picture import read_picture
    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.speech import recognise

    trained = model.task.load_classifier(model.folder)
    if trained is None or not isinstance(trained.classifier, ImageClassifier):
        return []
    config = trained.classifier.config
    pictures = [read_picture(path).convert("L" if config.channels == 1 else "RGB") for path in paths]
    if any(picture.size != (config.size, config.size) for picture in pictures):  # a strip
        return []
    arrays = [np.asarray(picture).reshape(config.size, config.size, -1) for picture in pictures]
    return recognise(trained, torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


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
