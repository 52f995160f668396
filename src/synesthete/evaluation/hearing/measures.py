"""What was measured on a model that paints sounds; `hearing.evaluation` puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from synesthete.data.labelled import PictureSamples
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.hearing.sensitivity import FRACTIONS, OTHER_TEXT, RIGHT, TEXT_ALONE, WRONG, WRONG_ALONE
from synesthete.evaluation.pictures.likeness import features_of, measure_likeness
from synesthete.evaluation.pictures.real_pictures import dealt, draw_real

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.features.features import Features
    from synesthete.evaluation.hearing.answers import Answers
    from synesthete.evaluation.hearing.retrieval import Retrieval
    from synesthete.evaluation.hearing.sensitivity import Sensitivity
    from synesthete.evaluation.hearing.stages import StageResult
    from synesthete.evaluation.hearing.strength import Base
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.pictures.likeness import Likenesses
    from synesthete.evaluation.pictures.measures import Memory
    from synesthete.evaluation.pictures.real_pictures import RealPictures
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]


@dataclass
class HearingEvaluation:
    """What `evaluate_hearing` found.

    takes: of sounds held out. speakers: of speakers never heard; None where the data tell of none. real_seen: (m,) what
    the judge sees in `real.held_out`. base: None of a denoiser that stands on none.
    """

    class_names: tuple[str, ...]
    takes: Answers
    speakers: Answers | None
    real: RealPictures
    real_seen: Tensor
    likenesses: Likenesses
    memory: Memory
    retrievals: list[Retrieval]
    sensitivity: Sensitivity
    base: Base | None
    metrics: list[Metric]
    sample_rate: int
    stages: list[StageResult] = field(default_factory=list)
    judge: TrainedClassifier[ImageClassifier] | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def metric(self, name: str) -> Metric:
        """The first metric whose name contains `name`."""
        return next(metric for metric in self.metrics if name in metric.title)

    @property
    def hears(self) -> bool:
        """Whether its pictures surely follow the sound."""
        return self.takes.hears

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        told = self.sensitivity
        used = {"sound": told.used(RIGHT, WRONG)}
        if OTHER_TEXT in told.errors:
            used["text beside sound"] = told.used(RIGHT, OTHER_TEXT)
        if WRONG_ALONE in told.errors:
            used["text alone"] = told.used(TEXT_ALONE, WRONG_ALONE)
        values: dict[str, Any] = {
            "class_names": list(self.class_names),
            "hears": self.hears,
            "uses": used,
            "seconds_per_picture": self.takes.painted.seconds,
            "confusion": {answers.what: answers.confusion().tolist() for answers in self.splits()},
            "error_by_timestep": {"fraction": list(FRACTIONS)}
            | {name: errors.mean(dim=1).tolist() for name, errors in told.errors.items()}
            | {"mean picture": told.mean_error},
            "loss_by_timestep": {name: losses.mean(dim=1).tolist() for name, losses in told.losses.items()},
            "features": {"name": self.likenesses.features, "width": self.likenesses.width},
            "kid_floor": self.likenesses.floor,
            "stages": [vars(each) for each in self.stages],
            "notes": self.notes,
            "skipped": self.skipped,
            "num_skipped": len(self.skipped),
        }
        if self.base is not None:
            values["gates"] = self.base.gates
            values["strength"] = dict(zip(map(str, self.base.strengths), self.base.moved, strict=True))
            values["strength_0_is_base"] = self.base.is_kept
        if self.judge is not None:
            values["judge"] = {key: getattr(self.judge, key) for key in ("accuracy", "num_test", "seconds")}
        return values

    def splits(self) -> list[Answers]:
        """The takes, and the speakers where there are any."""
        return [self.takes, *([self.speakers] if self.speakers else [])]


def pictures_of(prepared: Prepared) -> Prepared:
    """The same data as pictures with classes, which is all that likeness and memorisation look at."""
    train, test = (
        PictureSamples(samples.pictures, samples.labels, getattr(samples, "augmentation", None), samples.x_0)
        for samples in (prepared.train, prepared.test)
    )
    return replace(prepared, train=train, test=test)


def measure_set(
    features: Features, prepared: Prepared, painted: Tensor, labels: Tensor, seed: int, report: Progress
) -> tuple[Likenesses, RealPictures]:
    """How like real held-out pictures the painted ones (n, C, H, W) are as a set, and those pictures."""
    real = draw_real(pictures_of(prepared), len(painted), seed)
    sets = {
        "held out": (real.held_out, real.labels),
        "others": (real.others, real.other_labels),
        "worst": (dealt(real.others, seed), real.other_labels),
    }
    return measure_likeness(features, painted, labels, sets, seed=seed, report=report), real


def judged_features(judge: ImageClassifier, pictures: Any) -> Tensor:
    """What pictures (n, C, H, W) look like to the judge, (n, D)."""
    return features_of(ClassifierFeatures(judge), pictures, lambda *_: None)
