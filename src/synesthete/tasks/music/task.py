"""The task of music."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.data.music import MusicSamples
from synesthete.pipeline import Cascade, Pipeline
from synesthete.pipeline.adapted import find_adapters
from synesthete.pipeline.cascade import is_cascade
from synesthete.tasks.music import preparation
from synesthete.tasks.music.sampling import MusicPlan, MusicRequest
from synesthete.tasks.task import Task, register
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.config import Recipe, Stage
    from synesthete.evaluation.runner import Evaluator
    from synesthete.types import Prepared, Progress


class Music(Task):
    """Nothing, a class or a clip in, music out."""

    name = "music"
    verb = "play"
    makes = "music"
    shipped_model = "music-notes"
    num_evaluated = 100
    evaluation_options = ("features", "recorded")

    def prepare(self, recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
        """Recordings decoded, cut, and encoded where the codec is not trained."""
        return preparation.prepare(recipe, folder, progress)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by the sample rate."""
        return preparation.default_folder(recipe)

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pieces, recordings and seconds of each split."""
        values: dict[str, Any] = {}
        told = {}
        for part in ("train", "classifier", "test"):
            pieces = getattr(prepared, part)
            values[f"{part}_pieces"] = len(pieces)
            values[f"{part}_recordings"] = pieces.num_recordings
            values[f"{part}_seconds"] = round(pieces.seconds, 1)
            told[part] = f"{len(pieces)} pieces ({pieces.num_recordings} recordings, {pieces.seconds:.0f} s)"
        return values, (
            f"{told['train']} to train on, {told['classifier']} for the classifier alone, {told['test']} held out "
            "(no recording in two of them)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Noise, encoded unless the codec learns from it or it is what the model is told."""
        codec, labels = recipe.codec(), torch.zeros(num, dtype=torch.int64)
        x_0 = torch.randn(num, 1, *codec.shape).half()
        noise = torch.randint(-3000, 3000, (num, codec.config.num_samples), dtype=torch.int16)
        views = None if "codec" in stage.train else x_0
        reads: Any = "sound" if recipe.conditioner.target.reads == "sound" else "label"
        return MusicSamples(noise, labels, labels, ("noise",), views, reads, sample_rate=codec.spec.sample_rate)

    def train_classifier(
        self, recipe: Recipe, prepared: Prepared, model: Path, *, data: Path | None = None, progress: Any = None
    ) -> None:
        """One of recordings that the model never heard."""
        from synesthete.evaluation.classifiers.classifier import save_classifier
        from synesthete.evaluation.classifiers.sound import SoundClassifier, load_or_train_sound_classifier

        if prepared.classifier is None or not len(prepared.classifier):
            raise InputError("no recordings for a classifier; --set data.classifier_share=0.15")
        few = SoundClassifier.training_settings.few(sum(stage.num_steps for stage in recipe.stages))
        real, test, names, rate = (
            prepared.classifier,
            prepared.test,
            prepared.class_names,
            recipe.codec().spec.sample_rate,
        )
        trained = load_or_train_sound_classifier(real, test, names, rate, num_steps=few, progress=progress)
        save_classifier(trained, model, test.waveforms, test.labels)

    def load_classifier(self, model: Path) -> Any | None:
        """The one that `train_classifier` saved there."""
        from synesthete.evaluation.classifiers.classifier import load_classifier
        from synesthete.evaluation.classifiers.sound import SoundClassifier

        return load_classifier(model, SoundClassifier)

    def load(self, model: str, device: str = "cpu") -> Pipeline | Cascade:
        """A model, or two that ship as one."""
        if find_adapters(model) is None and is_cascade(hub.find_model(model)):
            return Cascade.load(model, device)
        return Pipeline.load(model, device)

    def request_type(self) -> type[MusicRequest]:
        """Labels, a clip, and what to do with it."""
        return MusicRequest

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """Labels."""
        return {"labels": [str(one) for one in inputs]}

    def plan(self, pipeline: Any, request: MusicRequest, folder: Path | None = None) -> MusicPlan:
        """Sounds of each label."""
        return MusicPlan(pipeline, request)

    def evaluator(
        self, pipeline: Pipeline, prepared: Prepared, recipe: Recipe, model: str, **options: Any
    ) -> Evaluator:
        """What it plays beside held-out recordings."""
        from synesthete.tasks.music.evaluation import MusicEvaluator

        return MusicEvaluator(pipeline, prepared, **options)


register(Music())
