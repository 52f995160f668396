"""Does it hear? By a classifier, hearing and drawing apart, as a set, by what sound and text are worth, by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.features import ClassifierFeatures
from synesthete.evaluation.metrics.classification import accuracy, confusion
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.metrics.set_comparison import features_of
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.reporting.sections import class_section, confusion_section
from synesthete.evaluation.samples import generate_timed
from synesthete.evaluation.steps import Finding, memorization, set_comparison, speed
from synesthete.hub import ADAPTERS_INDEX, MODEL_INDEX
from synesthete.tasks.audio_to_image import report
from synesthete.tasks.audio_to_image.eval_conditions import (
    CLASSIFIER,
    Answers,
    draw_conditions,
    fit_sound_probe,
    hearing_metrics,
    text_metrics,
)
from synesthete.tasks.audio_to_image.sensitivity import (
    FRACTIONS,
    OTHER_TEXT,
    RIGHT,
    TEXT_ALONE,
    WRONG,
    WRONG_ALONE,
    measure_adapter_scale,
    measure_sensitivity,
)
from synesthete.tasks.audio_to_image.similarity import clip_clap_scores, retrieve_classes, retrieve_own
from synesthete.tasks.images.evaluation import PictureEvaluator
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.reporting.report import Medium
    from synesthete.evaluation.samples import Generated
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions
    from synesthete.types import Progress

TAKES, SPEAKERS = "held-out takes", "speakers never heard"
NUM_TEXTS = 200  # pictures for each figure of text
NUM_NOISED = 200  # pictures for the sensitivity and the validation loss
FEWEST_SOUNDS = 2
PREFIX, ADAPTERS = "after-", "adapters"
NUM_BY_STAGE, NUM_NOISED_BY_STAGE = 200, 64  # sounds for each stage: classified, and noised


class AudioToImageEvaluator(PictureEvaluator):
    """A model of pictures that is told sounds, and texts beside them.

    Every held-out sound is told once before any is told again, with a caption that does not name its class. Chance is
    guessing; shuffled are the classes of other sounds; the ceiling is real held-out pictures of the same split.

    Args:
        stages: loads of the models kept after each stage, by name. Others: as `Evaluator`; `num` is of each split.
    """

    question, verb = "Does it hear?", "knows"
    classifier_name = CLASSIFIER
    reading_remark = (
        "The interval of a class accuracy counts a sound once, however often pictures were made of it. Hearing: a "
        "linear probe on the vector that the model makes of a sound; what it cannot tell, the network was hardly told. "
        "Sensitivity: how much worse one step of the network guesses a noised real picture when told something wrong; "
        "0 is a network that does not listen."
    )

    def __init__(self, *args: Any, stages: Mapping[str, Callable[[], Any]] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stages = stages or {}

    def answer(self, samples: Any, what: str) -> Answers:
        """What the classifier sees in pictures of a split's sounds, each told a caption that does not name its class.

        Raises:
            InputError: too few sounds that go with a picture.
        """
        conditions = draw_conditions(samples, self.class_names, self.num, self.seed)
        if conditions.num_sounds < FEWEST_SOUNDS:
            raise InputError(f"{conditions.num_sounds} held-out sounds with a held-out picture; raise data.test_share")
        made = generate_timed(
            self.pipeline,
            conditions.raw(),
            seed=self.seed,
            labels=conditions.labels,
            progress=lambda *count: self.progress(f"sampling, {what}", *count),
        )
        pictures = conditions.samples.pictures
        real = accuracy(conditions.samples.labels, self.classifier.classify(pictures))
        seen = self.classifier.classify(made.signal)
        return Answers(what, conditions, made, seen, real, len(self.class_names), self.seed)

    @cached_property
    def takes(self) -> Answers:
        """Of sounds held out."""
        return self.answer(self.prepared.test, TAKES)

    @cached_property
    def splits(self) -> list[Answers]:
        """The takes, and the speakers never heard where the data tell of any."""
        speakers = self.prepared.speakers
        if speakers is None or len(speakers.sound_labels) < FEWEST_SOUNDS:
            return [self.takes]
        return [self.takes, self.answer(speakers, SPEAKERS)]

    @property
    def is_told(self) -> bool:
        """As every evaluator: a class is what every sound is of."""
        return True

    def generate(self) -> Generated:
        """What is made of the held-out takes."""
        return self.takes.generated

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        yield Finding(sections=[report.painted_sheet(self, each) for each in self.splits])
        yield self.classification()
        yield self.probe()
        yield Finding(text_metrics(self.pipeline, self.classifier, self.takes, NUM_TEXTS, self.progress))
        yield self.by_stage()
        yield self.sensitivity()
        yield self.adapter()
        yield self.retrieval()
        yield set_comparison(self)
        yield memorization(self)
        scores = clip_clap_scores(self.takes, self.class_names, self.prepared.test.sample_rate, self.progress)
        yield Finding(scores[0], notes=scores[1])
        yield speed(self)
        notes = []
        if self.takes.conditions.captions is None and self.prepared.test.captions is not None:
            notes.append("every caption names its class, so sounds are told without text")
        yield Finding(sections=[self.reading()], notes=notes)

    def classification(self) -> Finding:
        """As every evaluator, for each split, and speaker by speaker."""
        names, labels = self.class_names, self.references.labels
        metrics = [each.metric() for each in self.splits]
        if self.saved is not None:
            # Of a model that learned from other pictures than these data have, it alone knows what they look like.
            saved = self.saved.classifier
            metrics += [each.seen_by(saved).metric("classifier saved with the model") for each in self.splits]
        said = [
            f"{each.share:.1%} of {len(each.seen)} pictures show what was heard, {each.what} ({CLASSIFIER}; chance "
            f"{each.chance:.1%}, real pictures {each.real:.1%})."
            for each in self.splits
        ]
        hears = self.takes.spread[0] > self.takes.chance
        if not hears:
            said.append("That is no better than guessing: these pictures do not follow the sound (yet).")
        seen = self.classifier.classify(self.references.held_out)
        tables = self.takes.confusion(), confusion(labels, seen, len(names))
        sections = [
            class_section(names, *tables, self.what),
            confusion_section(names, *tables, "picture"),
            *report.speakers(self),
        ]
        data = {"hears": hears, "confusion": {each.what: each.confusion().tolist() for each in self.splits}}
        return Finding(metrics, sections, data, sentences=said)

    def probe(self) -> Finding:
        """What is lost to hearing and what to drawing."""
        probe = fit_sound_probe(self.pipeline, self.prepared.train, self.seed)
        if probe is None:
            return Finding()
        return Finding([metric for each in self.splits for metric in hearing_metrics(self.pipeline, probe, each)])

    def retrieval(self) -> Finding:
        """From a sound to real pictures, by the classifier's features."""
        conditions, labels = self.takes.conditions, self.takes.conditions.labels
        features = ClassifierFeatures(self.classifier)
        sets = (self.generated.signal, conditions.samples.pictures)
        made, real = (features_of(features, pictures) for pictures in sets)
        tried = (
            retrieve_classes(made, labels, real, conditions.samples.labels, self.seed),
            retrieve_own(made, conditions, real, self.seed),
        )
        metrics = [metric for each in tried if each is not None for metric in each.metrics(conditions.num_sounds)]
        return Finding(metrics, [report.retrieval(metrics)])

    def sensitivity(self) -> Finding:
        """What sound and text are each worth to one step of the network."""
        found = measure_sensitivity(self.pipeline, self.takes.conditions.few(NUM_NOISED), self.seed, self.progress)
        used = {"sound": found.used(RIGHT, WRONG)}
        if OTHER_TEXT in found.errors:
            used["text beside sound"] = found.used(RIGHT, OTHER_TEXT)
        if WRONG_ALONE in found.errors:
            used["text alone"] = found.used(TEXT_ALONE, WRONG_ALONE)
        said = ["Its network uses the sound."]
        if not used["sound"]:
            said = ["Its network ignores the sound: it guesses no worse when told one of another class."]
        if "text alone" in used:
            said.append(f"It {'uses' if used['text alone'] else 'ignores'} the text.")
        errors, losses = (
            {name: each.mean(dim=1).tolist() for name, each in what.items()} for what in (found.errors, found.losses)
        )
        trace = {"fraction": list(FRACTIONS), **errors, "mean picture": found.mean_error}
        data = {"uses": used, "error_by_timestep": trace, "loss_by_timestep": losses}
        return Finding(found.metrics(), [found.section()], data, sentences=said)

    def adapter(self) -> Finding:
        """Whether the base is still there at scale 0; nothing of a denoiser that stands on none."""
        found = measure_adapter_scale(self.pipeline, self.takes.conditions, self.seed)
        if found is None:
            return Finding()
        said = [] if found.is_kept else ["At strength 0 it is not its base: something of the sound leaks."]
        strengths = dict(zip(map(str, found.strengths), found.moved, strict=True))
        data = {"gates": found.gates, "strength": strengths, "strength_0_is_base": found.is_kept}
        return Finding(found.metrics(), [found.section()], data, sentences=said)

    def by_stage(self) -> Finding:
        """What each stage of training has added."""
        found = measure_stages(self.stages, self.classifier, self.takes.conditions, self.seed, self.progress)
        metrics = stage_metrics(found, self.takes.chance, self.takes.real)
        return Finding(metrics, [stage_section(found)] if found else [], {"stages": [vars(each) for each in found]})

    def facts(self) -> dict[str, Any]:
        """As every evaluator."""
        told = [f"{len(x.seen)} pictures of {x.conditions.num_sounds} sounds, {x.what}" for x in self.splits]
        return {
            "sounds": f"{'; '.join(told)}; seed {self.seed}",
            "pictures": f"{len(self.references.labels)} of {len(self.prepared.test.labels)} held-out ones to compare "
            f"with, {len(self.prepared.train.labels)} that it was trained on",
        } | self.classifier_facts()


@dataclass(frozen=True)
class StageResult:
    """A model as it was after a stage: the share of pictures that show their sound's class, of `num` sounds.

    worth: mean sensitivity to the sound, with its interval. gates: mean |tanh|; None where there are none.
    """

    name: str
    share: float
    num: int
    worth: float
    worth_interval: tuple[float, float]
    loss: float
    gates: float | None

    @property
    def spread(self) -> tuple[float, float]:
        """95% interval of the share."""
        return interval(self.share, self.num)


def find_stages(run: Path, recipe: Recipe) -> dict[str, Path]:
    """The models kept after a stage in a run folder, by the stage's name, in the order that they were trained in.

    Of a published base a run keeps the adapters alone.
    """
    found = {}
    for stage in recipe.stages:
        folder = run / f"{PREFIX}{stage.name}"
        for place in (folder, folder / ADAPTERS):
            if (place / MODEL_INDEX).is_file() or (place / ADAPTERS_INDEX).is_file():
                found[stage.name] = place
                break
    return found


def measure_stages(
    models: Mapping[str, Callable[[], Any]],
    classifier: Any,
    conditions: EvalConditions,
    seed: int,
    progress: Progress,
) -> list[StageResult]:
    """Measure each model by the same few samples; models: called one after the other, so that one is in memory."""
    few, noised = conditions.few(NUM_BY_STAGE), conditions.few(NUM_NOISED_BY_STAGE)
    found = []
    for name, load in models.items():
        pipeline = load()
        what = f"after {name}"
        made = generate_timed(pipeline, few.raw(), seed=seed, progress=lambda *count, what=what: progress(what, *count))
        sensitivity = measure_sensitivity(pipeline, noised, seed, progress)
        worth = sensitivity.worth(RIGHT, WRONG)
        gates = list(pipeline.denoiser.gates.values())
        found.append(
            StageResult(
                name=name,
                share=accuracy(few.labels, classifier.classify(made.signal)),
                num=few.num_sounds,
                worth=worth.mean().item(),
                worth_interval=interval_of_mean(worth),
                loss=sensitivity.losses[RIGHT].mean().item(),
                gates=sum(map(abs, gates)) / len(gates) if gates else None,
            )
        )
    return found


def stage_metrics(results: list[StageResult], chance: float, ceiling: float) -> list[Metric]:
    """The class accuracy after each stage."""
    return [
        metric(
            "class_accuracy_after_stage",
            each.share,
            each.spread,
            chance,
            ceiling=ceiling,
            variant=each.name,
            stage=each.name,
            num=each.num,
        )
        for each in results
    ]


def stage_section(results: list[StageResult]) -> Section:
    """A row a stage: what it reached, and what it added to the one before."""
    rows = []
    before: float | None = None
    for each in results:
        low, high = each.spread
        gain = None if before is None else each.share - before
        rows.append((each.name, each.share, f"{low:.3f} to {high:.3f}", gain, each.worth, each.loss, each.gates))
        before = each.share
    columns = (
        "after stage",
        "class accuracy",
        "95% interval",
        "gain",
        "sensitivity to sound",
        "validation loss",
        "mean |tanh(gate)|",
    )
    items: list[Table | Medium] = [Table(columns, rows, f"the same {results[0].num} sounds and noise")]
    return Section("What each stage added", _STAGES, items)


_STAGES = (
    "The models that training kept after its stages, by the same sounds, captions and noise as each other. Gains "
    "smaller than the intervals say nothing."
)
