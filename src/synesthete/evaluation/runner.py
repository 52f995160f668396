"""One evaluation, whatever a model makes: sample, classify, compare as a set, look for copies, denoise, time, report.

What only one kind of model has is asked of an `Evaluator`; its defaults serve a kind that says no more than what its
samples and the real ones are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.data.files import some
from synesthete.evaluation import steps
from synesthete.evaluation.metrics.memorization import NearestTrainingDistance, nearest_training_distance
from synesthete.evaluation.metrics.metric import Metric, accuracy, accuracy_metric, metric
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE, PooledFeatures, SetComparison
from synesthete.evaluation.reporting.report import SECTIONS, Report, Section, notes_section, provenance, write_report
from synesthete.evaluation.samples import BATCH_SIZE, Generated, References, draw_places, encode_signals, shuffled
from synesthete.evaluation.search.scoring import ScoringBasis
from synesthete.evaluation.steps import Finding
from synesthete.types import Batch, InputError, Progress

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.evaluation.reporting.report import Gallery
    from synesthete.pipeline import Pipeline

__all__ = ["Evaluator"]

OTHERS, WORST = "other real ones", "as bad as chance"


class Evaluator:
    """How a kind of model is evaluated, which overrides what differs; one instance evaluates one model.

    `findings` says what is measured, in the report's order; `shared_findings` are those that every kind has.

    Args:
        prepared: the model's data, `test` of which it never saw. num: samples to make. seed: of noise and of the choice
            of real samples. features: by what sets are compared, as `find_features` reads it. classifier: a trained one
            with its `accuracy`, in place of that of `train_classifier`. saved: the one saved with the model, which is
            then measured as well, and stands in where there is no data for one. task: what is asked for samples and
            references where no method here is overridden.

    Raises:
        InputError: a model of other classes than the data's.
    """

    question = "What is it worth?"  # the report's title
    verb = "makes"  # what a model does with a class, in messages
    what, made_one = "samples", "sample"  # real ones in the plural, and one that was made
    classifier_name = "classifier"
    distance_names = ("Fréchet distance", "kernel distance")
    is_picture = False  # whether distances are called FID and KID
    floor_is_ceiling = True  # whether the kernel distance of other real samples has the expectation 0
    batch_size = BATCH_SIZE
    best, worst = OTHERS, WORST  # sets whose figures are ceiling and chance
    worst_is = "what is as bad as chance"
    best_is = "another set of real ones compared with the held-out ones, at the same numbers"
    num_suspects, num_denoised, num_traced = 10, 200, 100  # the last of those before it, by timestep
    set_remark = copy_remark = reading_remark = ""  # what else the report says of it

    def __init__(
        self,
        pipeline: Pipeline,
        prepared: Any,
        *,
        num: int = 500,
        seed: int = 0,
        features: Any = "auto",
        classifier: Any = None,
        saved: Any = None,
        progress: Progress | None = None,
        task: Any = None,
    ) -> None:
        self.pipeline, self.prepared, self.num, self.seed = pipeline, prepared, num, seed
        self.progress = progress or unseen
        self.task, self.saved, self._features = task, saved, features
        self.notes, self.skipped = list(prepared.notes), list(prepared.skipped)
        self.class_names = tuple(prepared.class_names)
        check_classes(pipeline, self.class_names, self.verb)
        self.trained = classifier or self.train_classifier()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which cannot show how far it is."""
        return {**self.__dict__, "progress": unseen}

    # What a kind of model answers for itself

    def train_classifier(self) -> Any:
        """A classifier with its `accuracy`, trained on `prepared.classifier` or cached; None if there is none."""
        return None

    def find_features(self, name: str) -> Any:
        """What sets are compared by: samples (n, ...) -> (n, D), with a `name`."""
        return PooledFeatures()

    @cached_property
    def generated(self) -> Generated:
        """What the model makes, on fixed noise, made once."""
        return self.task.generate(self.pipeline, self.prepared, num=self.num, seed=self.seed, progress=self.progress)

    @cached_property
    def references(self) -> References:
        """The real samples to compare with, drawn once."""
        return self.task.references(self.pipeline, self.prepared, num=self.num, seed=self.seed)

    def thumbnails(self, samples: Any) -> Sequence[Image.Image]:
        """A picture of each sample."""
        return self.task.thumbnails(self.pipeline, encode_signals(self.pipeline.codec, samples))

    def distances(self) -> Iterator[NearestTrainingDistance]:
        """Of what was made and of what was held out to training samples, by what is compared."""
        made, real = self.generated.signal, self.references
        sets, unit = (made, real.held_out, real.training), math.sqrt(made[0].numel())
        yield nearest_training_distance("values", *sets, unit=unit, what=self.what)

    def held_out_pairs(self) -> Batch | None:
        """Held-out x_0 with their conditions and labels, to be noised; None where the data have none to give."""
        return None

    def findings(self) -> Iterator[Finding]:
        """What is measured, in the report's order."""
        yield Finding(sections=[Section("Made and real", _GALLERY, [steps.made_and_real(self)])])
        yield from self.shared_findings()

    def facts(self) -> dict[str, Any]:
        """What was measured and on what, for the report."""
        return {self.what: f"{self.num} made, seed {self.seed}; {len(self.references.labels)} held-out ones"}

    # What all share

    @cached_property
    def classifier(self) -> Any:
        """What tells the class of a sample; None where there is nothing of the kind."""
        return self.trained.classifier if self.trained else self.saved.classifier if self.saved else None

    @cached_property
    def features(self) -> Any:
        """What sets are compared by."""
        return self.find_features(self._features) if isinstance(self._features, str) else self._features

    @property
    def one(self) -> str:
        """A real sample, in words."""
        return self.what.removesuffix("s")

    @property
    def is_told(self) -> bool:
        """Whether the model is told a class: of one that is not, nothing is measured class by class."""
        return self.pipeline.is_conditional and len(self.class_names) > 1

    @property
    def is_classified(self) -> bool:
        """Whether there is a classifier for the classes that the model is told."""
        return self.is_told and self.classifier is not None

    @cached_property
    def answers(self) -> tuple[Tensor, Tensor]:
        """What the classifier takes the made samples (n,) and the held-out ones (m,) for."""
        return tuple(self.classifier.classify(x).cpu() for x in (self.generated.signal, self.references.held_out))

    def evaluate(self, folder: Path, *, model: str = "", command: str | None = None) -> Report:
        """Measure everything and write the report into `folder`; model, command: as `provenance`.

        Raises:
            InputError: too few real samples, unknown features, and as `write_report`.
        """
        start = datetime.now(UTC)
        found = self.measure()
        found.title = f"{self.question} {model}".strip()
        weights = "as they are saved: the average over training (EMA) where the recipe keeps one"
        found.facts = provenance(self.pipeline, start, model, command) | self.facts() | {"weights": weights}
        write_report(found, Path(folder))
        return found

    def measure(self) -> Report:
        """Every figure of the model, each with its floor and its ceiling, on fixed noise and timesteps."""
        found = list(self.findings())
        if self.saved is not None and self.saved.classifier.knows_classes:
            found.append(Finding([self.saved_metric()]))
        if self.trained is not None:
            known = {name: getattr(self.trained, name) for name in ("accuracy", "num_test", "seconds")}
            found.append(Finding(data={"classifier": known}))
        notes = [*(note for each in found for note in each.notes), *self.notes]
        data: dict[str, Any] = {"class_names": list(self.class_names)}
        for each in found:
            data |= each.data
        return Report(
            title=self.question,
            summary=" ".join(sentence for each in found for sentence in each.sentences),
            metrics=[each for one in found for each in one.metrics],
            sections=[*(section for each in found for section in each.sections), *notes_section(notes)],
            data=data | {"notes": notes, "skipped": self.skipped, "num_skipped": len(self.skipped)},
        )

    def saved_metric(self) -> Metric:
        """The accuracy of the classifier saved with the model on held-out samples."""
        return self.saved.metric(self.references.held_out, self.references.labels, f"held-out {self.what}")

    def classifier_fact(self, real: str) -> str:
        """How the classifier came to be, in one line. real: the samples that it learned from."""
        if self.trained is None:
            return "the one saved with the model" if self.saved else "none"
        known = f"; accuracy {self.trained.accuracy:.3f} on {self.trained.num_test} held-out ones"
        return f"trained in {self.trained.seconds:.0f} s on {real}{known if self.trained.num_test else ''}"

    def shared_findings(self) -> Iterator[Finding]:
        """Classes, the set, copies, one step of denoising, speed: each where there is something to measure it by."""
        if self.is_classified:
            yield steps.classification(self)
        yield steps.set_comparison(self)
        if self.references.training is not None:
            yield steps.memorization(self)
        if (pairs := self.held_out_pairs()) is not None:
            yield steps.denoising_finding(self, pairs)
        yield steps.speed(self)

    def held_out_and_others(self, signal: str, worst: Callable[[Tensor, int], Tensor]) -> References:
        """References of what the splits of the data call `signal`; worst(others, seed): what is as bad as chance.

        The others are held out too, then of training; all of training where those of one split are too alike.
        """
        test, train, alike = self.prepared.test, self.prepared.train, not self.floor_is_ceiling
        places = draw_places(len(test.labels), len(train.labels), self.num, self.seed, self.what, from_training=alike)
        chosen, *rest = places
        sets = [(samples, own) for samples, own in zip((test, train), rest, strict=True) if len(own)]
        others = torch.cat([getattr(samples, signal)[own] for samples, own in sets])
        beside = others, torch.cat([samples.labels[own] for samples, own in sets]), worst(others, self.seed)
        known = chosen, getattr(train, signal), 0 if alike else len(rest[1])
        return References(getattr(test, signal)[chosen], test.labels[chosen], *beside, *known)

    @property
    def scoring_basis(self) -> ScoringBasis:
        """By what ways of sampling are scored."""
        real = self.references
        return ScoringBasis(
            real.held_out, real.labels, self.class_names, self.classifier, self.features, thumbnails=self.thumbnails
        )

    def groups(self, labels: Tensor) -> Tensor:
        """The classes within which samples are compared; one for all where the model is told none."""
        return labels if self.is_told else torch.zeros_like(labels)

    @cached_property
    def class_metrics(self) -> list[Metric]:
        """The class accuracy, and the same over that of real samples."""
        labels, real, (answers, real_answers) = self.generated.labels, self.references.labels, self.answers
        ceiling = accuracy(real, real_answers)
        told: dict[str, Any] = {"classifier": self.classifier_name, "num": len(labels)}
        other = labels[shuffled(len(labels), self.seed)]
        found = accuracy_metric("class_accuracy", labels, answers, 1 / len(self.class_names), other, ceiling, **told)
        if not ceiling:
            return [found]
        assert found.interval is not None and found.chance is not None and found.shuffled is not None
        low, high = (end / ceiling for end in found.interval)
        figures = found.value / ceiling, (low, high), found.chance / ceiling, found.shuffled / ceiling, 1.0
        told |= {"what": self.what, "num_real": len(real)}
        return [found, metric("class_accuracy_over_real", *figures, **told)]

    def sets(self) -> dict[str, tuple[Any, Tensor]]:
        """The sets that are compared, with their labels, by name."""
        real = self.references
        return {
            HELD_OUT: (real.held_out, self.groups(real.labels)),
            MADE: (self.generated.signal, self.groups(self.generated.labels)),
            self.best: (real.others, self.groups(real.other_labels)),
            self.worst: (real.worst, self.groups(real.other_labels)),
        }

    @cached_property
    def comparison(self) -> SetComparison:
        """The sets beside held-out samples."""
        within = "a class" if self.is_told else f"all {self.what}"
        how: dict[str, Any] = {"best": self.best, "worst": self.worst, "seed": self.seed, "progress": self.progress}
        return SetComparison(self.features, self.sets(), within=within, **how)

    def set_columns(self) -> dict[str, dict[str, float]]:
        """What else is known of each set, by column and set."""
        return {}

    def suspect_items(self, found: NearestTrainingDistance) -> Sequence[Gallery]:
        """What else the report shows of samples that may be copies."""
        return ()

    def name_of(self, place: int) -> str:
        """A made sample's number, and its class where it was asked for one."""
        told = f", {self.class_names[int(self.generated.labels[place])]}" if self.is_told else ""
        return f"{place}{told}"

    def reading(self) -> Section:
        """What chance, shuffled and ceiling mean here."""
        text = SECTIONS["runner.reading"].format(what=self.what, worst=self.worst_is, best=self.best_is)
        return Section("How to read the figures", f"{text} {self.reading_remark}".strip())


def unseen(what: str, done: int, total: int) -> None:
    """Progress that nobody is shown."""


def check_classes(pipeline: Pipeline, class_names: Sequence[str], verb: str, task: str = "evaluate") -> None:
    """Make sure that a model meets data of its own classes. verb: what it does with a class. task: with it, here."""
    if pipeline.class_names and tuple(pipeline.class_names) != tuple(class_names):
        raise InputError(
            f"the model {verb} {some(pipeline.class_names, 12)}, the data hold "
            f"{some(class_names, 12) or 'no classes'}; {task} it on the data of its own recipe"
        )


_GALLERY = "The first that were made, not the best ones, beside real ones that the model never saw."
