"""Are they good pictures? By a classifier, as a set, as copies, by one step, and at other guidance scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.picture import to_images
from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.features import ClassifierFeatures, find_features
from synesthete.evaluation.metrics.memorization import NearestTrainingDistance, nearest_training_distance
from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.metrics.set_comparison import features_of
from synesthete.evaluation.reporting.figures import sweep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.runner import Evaluator
from synesthete.evaluation.samples import Generated, References, draw_with_replacement, encode_signals, generate_timed
from synesthete.evaluation.search.scoring import ScoredSamples, Scorer, ScoringBasis, noise_sources
from synesthete.evaluation.steps import Finding
from synesthete.tasks.task import SECTIONS
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from PIL import Image

GUIDANCE = (0.0, 1.0, 1.5, 2.0, 4.0, 6.0)
NUM_SWEPT = 200  # pictures at each guidance scale
BATCH_SIZE = 64
ENCODED = 100  # pictures that are encoded at once
NO_CLASSIFIER = "no pictures for a classifier in the data and none with the model; --set data.num_classifier=400"
OTHERS, DEALT = "other real pictures", "pixels of real pictures, at random"


class PictureEvaluator(Evaluator):
    """What every model has whose samples are pictures, uint8 (n, C, H, W)."""

    what, made_one, classifier_name = "pictures", "picture", "picture classifier"
    distance_names, is_picture, batch_size = ("FID", "KID"), True, BATCH_SIZE
    best, worst = OTHERS, DEALT
    worst_is = "all pixels of real pictures dealt out at random"
    copy_remark = (
        "In pixels the distance is the root mean square difference, 0 to 1; smooth or blurred pictures are near to "
        "everything in it."
    )

    def train_classifier(self) -> Any:
        """As every evaluator."""
        data = self.prepared
        if data.classifier is not None and len(data.classifier):
            return load_or_train_image_classifier(data.classifier, data.test, data.class_names, progress=self.progress)
        if self.pipeline.is_conditional and self.saved is None:
            raise InputError(NO_CLASSIFIER)
        return None

    def find_features(self, name: str) -> Any:
        """As every evaluator."""
        return find_features(name, self.classifier)

    @cached_property
    def references(self) -> References:
        """As every evaluator."""
        return self.held_out_and_others("pictures", dealt)

    def classifier_facts(self) -> dict[str, Any]:
        """By what the pictures were compared and classified."""
        num = len(self.prepared.classifier) if self.prepared.classifier is not None else 0
        return {
            "features": f"{self.comparison.features}, {self.comparison.width} numbers a picture",
            self.classifier_name: self.classifier_fact(f"{num} real pictures that the model never saw"),
        }

    def thumbnails(self, samples: Any) -> Sequence[Image.Image]:
        """As every evaluator."""
        return to_images(samples)

    def distances(self) -> Iterator[NearestTrainingDistance]:
        """In pixels, mirrored too where training pictures were, then in the classifier's features."""
        made, held_out, flips = self.generated.signal, self.references.held_out, self.prepared.train.is_mirrored
        sets = (made, held_out, self.references.training)
        mirrored, unit = (made.flip(-1), held_out.flip(-1)) if flips else None, 255 * math.sqrt(made[0].numel())
        self.progress("nearest training pictures", 0, 1)
        yield nearest_training_distance("pixels", *sets, unit=unit, mirrored=mirrored, what=self.what)
        self.progress("nearest training pictures", 1, 1)
        if self.classifier is not None:
            features = ClassifierFeatures(self.classifier)
            described = [features_of(features, each, partial(self.progress, "features, training")) for each in sets]
            yield nearest_training_distance(features.name, *described, what=self.what)


class ImagesEvaluator(PictureEvaluator):
    """A model of pictures, told a class or nothing.

    Args:
        guidance: scales that the first pictures are made at again; none are where it is empty. Others: as `Evaluator`.
    """

    question, verb = "Are they good pictures?", "draws"

    def __init__(self, *args: Any, guidance: Sequence[float] = GUIDANCE, **options: Any) -> None:
        super().__init__(*args, **options)
        self.guidance = guidance

    @cached_property
    def generated(self) -> Generated:
        """Classes, or captions, as often as held-out pictures have them; the i-th of one class has its own noise."""
        test = self.prepared.test
        places = draw_with_replacement(len(test), self.num, self.seed, "labels")
        labels = test.labels[places]
        noise = [seeding.generator(*source) for source in noise_sources(labels, self.seed)]
        how: dict[str, Any] = {"generators": noise, "batch_size": BATCH_SIZE, "warmed": set(), "labels": labels}
        return generate_timed(self.pipeline, self.told(places), **how, progress=partial(self.progress, "sampling"))

    def told(self, places: Tensor) -> Tensor:
        """What the model is told of the held-out pictures at `places` (n,)."""
        words, known = self.prepared.told.get("captions"), self.pipeline.conditioner.config.get("captions")
        if words is not None and list(words) != list(known):
            raise InputError(f"captions of {len(words)} words, a model of {len(known)} others; give its own data")
        return self.prepared.test.told(places)

    def held_out_pairs(self) -> Batch:
        """As every evaluator."""
        assert self.references.places is not None
        places = self.references.places[: self.num_denoised]
        labels = self.prepared.test.labels[places]
        x_0 = encode_pictures(self.pipeline.codec, self.prepared.test, places)
        return Batch(signal=x_0, raw=self.told(places), label=labels, encoded=True)

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        yield from super().findings()
        if self.is_classified and self.guidance and self.pipeline.can_be_guided:
            yield self.sweep()
        left_out = "This model is told no class: class accuracy, confusions and guidance are left out."
        yield Finding(sections=[self.reading()], notes=[] if self.is_told else [left_out])

    @property
    def scoring_basis(self) -> ScoringBasis:
        """All held-out pictures, by what they are compared and classified here."""
        test = self.prepared.test
        return ScoringBasis(test.pictures, test.labels, self.class_names, self.classifier, self.features)

    def sweep(self) -> Finding:
        """The first pictures again, on the same noise, at other guidance scales."""
        default = self.pipeline.sampling_settings()["guidance_scale"]
        asked, scores = self.generated.labels[:NUM_SWEPT], {}
        scorer = Scorer(self.pipeline, self.scoring_basis, self.seed)
        for scale in sorted({*self.guidance, default}):
            report = partial(self.progress, f"guidance {scale:g}")
            scores[scale] = scorer.score({"guidance_scale": scale}, asked, self.seed, progress=report)
        found = {f"{scale:g}": score.figures() for scale, score in scores.items()}
        return Finding(sections=[picture_guidance_section(self, scores, default)], data={"guidance": found})

    def facts(self) -> dict[str, Any]:
        """As every evaluator."""
        real, data = self.references, self.prepared
        return {
            "pictures": f"{len(self.generated)} made, seed {self.seed}; {len(real.labels)} of {len(data.test)} "
            f"held-out ones, {len(data.train)} that it was trained on",
        } | self.classifier_facts()


def encode_pictures(codec: Any, samples: Any, places: Tensor) -> Tensor:
    """x_0 (n, C, H, W) of the pictures at these places, on the CPU; that of before where they were encoded once."""
    if samples.x_0 is not None:
        return samples.x_0[places][:, 0].float()  # the first view is the picture as it is
    return encode_signals(codec, samples.pictures[places], ENCODED)


def dealt(pictures: Tensor, seed: int) -> Tensor:
    """All pixels of these pictures (n, C, H, W), dealt out again at random: the colours are right, and nothing else."""
    pixels = pictures.transpose(0, 1).flatten(1)  # (C, n * H * W)
    order = torch.randperm(pixels.shape[1], generator=seeding.generator(seed, "dealt"))
    num, channels, height, width = pictures.shape
    return pixels[:, order].view(channels, num, height, width).transpose(0, 1).contiguous()


def picture_guidance_section(of: ImagesEvaluator, scores: Mapping[float, ScoredSamples], default: float) -> Section:
    """The same classes and noise at other guidance scales, beside real pictures; default: the model's own scale."""
    found, accuracy_of_real = of.comparison, of.class_metrics[0].ceiling or 0.0
    num, real = len(next(iter(scores.values())).samples), found.sets[found.best]
    ceilings = {"accuracy": accuracy_of_real, "precision": real.precision, "recall": real.recall}
    curves = {name: [(getattr(score, name),) * 3 for score in scores.values()] for name in ceilings}
    curves["accuracy"] = [(score.accuracy, *interval(score.accuracy, num)) for score in scores.values()]
    title = f"n = {num} at each scale, same noise; shaded: 95%"
    figure = sweep_figure(list(scores), curves, ceilings, 1 / len(of.class_names), title, default, "share")
    rows: list[tuple[Any, ...]] = []
    for scale, score in scores.items():
        kid = score.accuracy, score.kid, score.kid / score.kid_floor if score.kid_floor else None
        share = found.over_real(score.diversity)
        rows.append((f"{scale:g}", *kid, score.precision, score.recall, share, score.seconds_per_picture))
    share = found.over_real(real.diversity)
    rows.append(("real pictures", accuracy_of_real, None, 1.0, real.precision, real.recall, share, None))
    columns = ("guidance scale", "accuracy", "balanced KID", "over floor", "precision", "recall", "diversity over real")
    text = SECTIONS["images.guidance"].format(num=num, default=default)
    return Section("Guidance", text, [Medium("guidance", to_png(figure)), Table((*columns, "s"), rows)])
