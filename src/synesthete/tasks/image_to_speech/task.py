"""The task of pictures that speak."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete.data.image_speech_pairs import ImageSpeechSamples
from synesthete.tasks.image_to_speech import preparation
from synesthete.tasks.image_to_speech.sampling import SpeechPlan, SpeechRequest
from synesthete.tasks.task import Task, register
from synesthete.training.precompute import precompute_features

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.config import Recipe, Stage
    from synesthete.evaluation.steps import Evaluation
    from synesthete.pipeline import Pipeline
    from synesthete.tasks.task import EvaluationRequest
    from synesthete.types import Prepared, Progress


class ImageToSpeech(Task):
    """A picture in, a clip that says what it shows out."""

    name = "image-to-speech"
    verb = "speak"
    makes = "speech"
    shipped_model = "image-to-speech-digits"
    evaluation_options = ("listener",)

    def prepare(self, recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
        """The corpus spoken, its clips encoded, the pictures fitted."""
        return preparation.prepare(recipe, folder, progress)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by what decides the sound of the corpus."""
        return preparation.default_folder(recipe)

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pictures and clips of each split."""
        values = {
            "train_pictures": len(prepared.train.pictures),
            "test_pictures": len(prepared.test.pictures),
            "train_clips": len(prepared.train.x_0),
            "test_clips": len(prepared.test.x_0),
        }
        return values, (
            f"{values['train_pictures']} pictures and {values['train_clips']} clips to train on, "
            f"{values['test_pictures']} and {values['test_clips']} held out (no picture and no voice in common)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Grey pictures, looked at beforehand where a training would, and noise for their clips."""
        data, labels = recipe.data(), torch.zeros(num, dtype=torch.int64)
        x_0 = torch.randn(num, *recipe.codec().shape).half()
        with torch.device("meta"):
            conditioner: Any = recipe.conditioner()
        if conditioner.reads != "image":
            return ImageSpeechSamples(x_0, labels, labels, labels)
        grey = conditioner.preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
        pictures = grey.expand(num, *grey.shape[1:]).contiguous()
        samples = ImageSpeechSamples(x_0, labels, pictures, labels, data.augmentation)
        if not stage.num_views and not (conditioner.has_fixed_features and data.augmentation is None):
            return samples
        conditioner = recipe.conditioner()
        conditioner.freeze(stage.num_views > 0)
        return precompute_features(
            conditioner,
            samples,
            max(stage.num_views, 1),
            0,
            autocast=contextlib.nullcontext,
            report=lambda done, total: None,
        )

    def train_classifier(
        self, recipe: Recipe, prepared: Prepared, model: Path, *, data: Path | None = None, progress: Any = None
    ) -> None:
        """One of voices that the model never heard."""
        from synesthete.evaluation.classifiers.classifier import save_classifier
        from synesthete.evaluation.classifiers.speech import SpeechClassifier, load_or_train_speech_classifier

        few = SpeechClassifier.training_settings.few(sum(stage.num_steps for stage in recipe.stages))
        pairs, corpus, spec = recipe.data(), preparation.build_corpus(recipe, data), recipe.codec().spec
        clips, test = pairs.clips(corpus, "classifier"), pairs.clips(corpus, "test")
        trained = load_or_train_speech_classifier(clips, test, spec=spec, num_steps=few, progress=progress)
        phrases = [pairs.words.get(name, name) for name in pairs.class_names]
        words = tuple((own,) if isinstance(own, str) else tuple(own) for own in phrases)
        save_classifier(replace(trained, words=words), model, test.waveforms, test.labels)

    def load_classifier(self, model: Path) -> Any | None:
        """The one that `train_classifier` saved there."""
        from synesthete.evaluation.classifiers.classifier import load_classifier
        from synesthete.evaluation.classifiers.speech import SpeechClassifier

        return load_classifier(model, SpeechClassifier)

    def request_type(self) -> type[SpeechRequest]:
        """Pictures."""
        return SpeechRequest

    def plan(self, pipeline: Any, request: SpeechRequest, folder: Path | None = None) -> SpeechPlan:
        """A clip for each picture, heard by the classifier beside the model."""
        return SpeechPlan(pipeline, request, self.load_classifier(folder) if folder else None)

    def evaluate(
        self, pipeline: Pipeline, recipe: Recipe, request: EvaluationRequest, progress: Progress | None = None
    ) -> Evaluation:
        """Its test pictures, and the voices that it never heard."""
        from synesthete.tasks.image_to_speech.evaluation import speech_evaluator

        corpus = preparation.build_corpus(recipe, request.data, progress)
        evaluator = speech_evaluator(
            pipeline,
            recipe.data(),
            corpus,
            num=request.num or self.num_evaluated,
            seed=request.seed,
            saved=self.load_classifier(request.folder),
            progress=progress,
            **request.options,
        )
        return evaluator.evaluate(request.out, model=request.model)


register(ImageToSpeech())
