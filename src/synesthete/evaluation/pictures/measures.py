"""What is measured on a model of pictures, piece by piece; `evaluation.pictures` puts it together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.denoising import TRACED
from synesthete.evaluation.denoising_trace import NUM_DENOISED, trace_denoising
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.metrics.classification import confusion, per_class
from synesthete.evaluation.metrics.memorization import nearest_training_distance
from synesthete.evaluation.pictures.likeness import features_of
from synesthete.evaluation.pictures.real_pictures import encoded
from synesthete.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.denoising_trace import DenoisingTrace
    from synesthete.evaluation.metrics.memorization import NearestTrainingDistance
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.pictures.likeness import Likenesses
    from synesthete.evaluation.pictures.real_pictures import RealPictures
    from synesthete.evaluation.pictures.scoring import Score
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

JUDGE = "picture judge"
NUM_SUSPECTS = 10


@dataclass
class PictureEvaluation:
    """What `evaluate_pictures` found.

    made: (n, C, H, W) uint8. labels: (n,), the classes asked for. answers, real_answers: the judge's, of what was made
    and of the real held-out pictures; None of a model that is told no class. sweep: by guidance scale.
    """

    class_names: tuple[str, ...]
    made: Tensor
    labels: Tensor
    real: RealPictures
    metrics: list[Metric]
    likenesses: Likenesses
    memory: Memory
    denoising: DenoisingTrace
    seconds_per_picture: float
    answers: Tensor | None = None
    real_answers: Tensor | None = None
    sweep: dict[float, Score] = field(default_factory=dict)
    judge: TrainedClassifier[ImageClassifier] | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def metric(self, name: str) -> Metric:
        """The first metric whose name contains `name`."""
        return next(metric for metric in self.metrics if name in metric.title)

    def confusion(self, real: bool = False) -> Tensor:
        """How often each class asked for (or shown by real pictures) was taken for each, (C, C + 1)."""
        labels, answers = (self.real.labels, self.real_answers) if real else (self.labels, self.answers)
        assert answers is not None
        return confusion(labels, answers, len(self.class_names))

    def per_class(self, real: bool = False) -> list[float]:
        """Share of each class that the judge sees as it."""
        labels, answers = (self.real.labels, self.real_answers) if real else (self.labels, self.answers)
        assert answers is not None
        return per_class(labels, answers, len(self.class_names))

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        values: dict[str, Any] = {
            "seconds_per_picture": self.seconds_per_picture,
            "class_names": list(self.class_names),
            "features": {"name": self.likenesses.features, "width": self.likenesses.width},
            "kid_floor": self.likenesses.floor,
            "error_by_timestep": {
                "fraction": list(TRACED),
                **self.denoising.errors,
                "mean picture": self.denoising.mean_error,
            },
            "guidance": {f"{scale:g}": score.figures() for scale, score in self.sweep.items()},
            "notes": self.notes,
            "skipped": self.skipped,
            "num_skipped": len(self.skipped),
        }
        if self.answers is not None:
            values["confusion"] = self.confusion().tolist()
            values["confusion_of_real"] = self.confusion(real=True).tolist()
        if self.judge is not None:
            keys = ("accuracy", "num_test", "seconds")
            values["judge"] = {key: getattr(self.judge, key) for key in keys}
        return values


@dataclass(frozen=True)
class Memory:
    """How near to training pictures a model draws: in pixels, then in the judge's features.

    suspects, real_suspects: places of the made and of the held-out pictures that are nearest, in pixels. copies,
    real_copies: the training pictures they are nearest to, uint8 (k, C, H, W).
    """

    closeness: list[NearestTrainingDistance]
    suspects: Tensor
    copies: Tensor
    real_suspects: Tensor
    real_copies: Tensor


def measure_memory(
    prepared: Prepared,
    judge: ImageClassifier | None,
    made: Tensor,
    real: RealPictures,
    progress: Progress,
) -> Memory:
    """Nearest training pictures, as they are before augmentation; of what was made and of what was held out."""
    training = prepared.train.pictures
    flips = getattr(prepared.train.augmentation, "flip", 0) > 0
    progress("nearest training pictures", 0, 1)
    pixels = nearest_training_distance(
        "pixels",
        made,
        real.held_out,
        training,
        unit=255 * math.sqrt(made[0].numel()),
        mirrored=(made.flip(-1), real.held_out.flip(-1)) if flips else None,
    )
    progress("nearest training pictures", 1, 1)
    closeness = [pixels]
    if judge is not None:
        features = ClassifierFeatures(judge)
        sets = (made, real.held_out, training)
        described = [features_of(features, s, lambda *count: progress("features, training", *count)) for s in sets]
        closeness.append(nearest_training_distance(features.name, *described))
    suspects = pixels.suspects(NUM_SUSPECTS)
    real_suspects = pixels.held_out.argsort(stable=True)[:NUM_SUSPECTS]
    return Memory(
        closeness,
        suspects,
        training[pixels.places[suspects]],
        real_suspects,
        training[pixels.held_out_places[real_suspects]],
    )


def measure_denoising(
    pipeline: Pipeline, prepared: Prepared, real: RealPictures, seed: int, progress: Progress
) -> DenoisingTrace:
    """What one step of the network makes of noised held-out pictures, told the right class, another, and none."""
    places = real.places[:NUM_DENOISED]
    x_0, labels = encoded(pipeline.codec, prepared.test, places), prepared.test.labels[places]
    pairs = Batch(signal=x_0, raw=labels, label=labels, encoded=True)
    return trace_denoising(pipeline, pairs, seed, progress, "pictures")


def remarks(likenesses: Likenesses, real: RealPictures, told: bool) -> list[str]:
    """What a reader has to know about these figures, in plain words."""
    found = []
    if not told:
        found.append("This model is told no class: class accuracy, confusions and guidance are left out.")
    if likenesses.num_equal <= likenesses.width:
        found.append(
            f"FID of {likenesses.num_equal} pictures in {likenesses.width} dimensions: fewer pictures than dimensions, "
            "so it says more of their number than of the model. Read it beside its ceiling alone, or KID instead."
        )
    if real.num_training:
        found.append(
            f"{real.num_training} of the {len(real.others)} other real pictures, which give the ceilings of FID, "
            "precision, recall and diversity, are training pictures: there are no more held-out ones."
        )
    return found
