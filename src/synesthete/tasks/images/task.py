"""The task of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete.data.labelled import PictureSamples
from synesthete.tasks.images import preparation
from synesthete.tasks.images.sampling import PicturePlan, PictureRequest
from synesthete.tasks.task import Task, register
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.config import Recipe, Stage
    from synesthete.evaluation.runner import Evaluator
    from synesthete.evaluation.search.scoring import ScoringBasis
    from synesthete.pipeline import Pipeline
    from synesthete.tasks.sampling import Plan
    from synesthete.types import Prepared, Progress


class Images(Task):
    """A class, words or nothing in, a picture out."""

    name = "images"
    verb = "draw"
    makes = "pictures"
    shipped_model = "images-digits"
    evaluation_options = ("features",)

    def prepare(self, recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
        """Pictures fitted, and encoded where the codec is a network."""
        return preparation.prepare(recipe, folder, progress)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by how the codec reads pictures."""
        return preparation.default_folder(recipe)

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pictures of each split."""
        values = {f"{part}_pictures": len(getattr(prepared, part)) for part in ("train", "classifier", "test")}
        return values, (
            f"{values['train_pictures']} pictures to train on, {values['classifier_pictures']} for the classifier "
            f"alone, {values['test_pictures']} held out (no picture in two of them)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Grey pictures."""
        grey = recipe.codec().preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
        pictures = grey.expand(num, *grey.shape[1:]).contiguous()
        return PictureSamples(pictures, torch.zeros(num, dtype=torch.int64), recipe.data().augmentation)

    def train_classifier(
        self, recipe: Recipe, prepared: Prepared, model: Path, *, data: Path | None = None, progress: Any = None
    ) -> None:
        """One of pictures that the model never saw."""
        from synesthete.evaluation.classifiers.classifier import save_classifier
        from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier

        if prepared.classifier is None or not len(prepared.classifier):
            raise InputError("no pictures for a classifier; --set data.num_classifier=400")
        few = ImageClassifier.training_settings.few(sum(stage.num_steps for stage in recipe.stages))
        real, test, names = prepared.classifier, prepared.test, prepared.class_names
        trained = load_or_train_image_classifier(real, test, names, num_steps=few, progress=progress)
        save_classifier(trained, model, test.pictures, test.labels)

    def load_classifier(self, model: Path) -> Any | None:
        """The one that `train_classifier` saved there."""
        from synesthete.evaluation.classifiers.classifier import load_classifier
        from synesthete.evaluation.classifiers.image import ImageClassifier

        return load_classifier(model, ImageClassifier)

    def request_type(self) -> type[Any]:
        """Labels and prompts."""
        return PictureRequest

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """Class names and numbers are labels, anything else a prompt."""
        given = [str(one) for one in inputs]
        known = {*pipeline.class_names, *map(str, range(len(pipeline.class_names))), "all"}
        return {"labels": [g for g in given if g in known], "prompts": [g for g in given if g not in known]}

    def plan(self, pipeline: Any, request: Any, folder: Path | None = None) -> Plan:
        """Pictures of each label and prompt."""
        return PicturePlan(pipeline, request)

    def evaluator(
        self, pipeline: Pipeline, prepared: Prepared, recipe: Recipe, model: str, **options: Any
    ) -> Evaluator:
        """What it draws beside held-out pictures."""
        from synesthete.tasks.images.evaluation import ImagesEvaluator

        return ImagesEvaluator(pipeline, prepared, **options)

    def check_scorable(self, features: str = "auto") -> None:
        """Pictures can, by any features that are there."""
        from synesthete.evaluation.features import check_image_features

        check_image_features(features)

    def scoring_basis(self, pipeline: Pipeline, prepared: Prepared, **options: Any) -> ScoringBasis:
        """Held-out pictures and a classifier of them."""
        from synesthete.tasks.images.evaluation import ImagesEvaluator

        return ImagesEvaluator(pipeline, prepared, **options).scoring_basis


register(Images())
