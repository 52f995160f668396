"""Does it hear? A model that paints sounds: by a judge, ear and brush apart, as a set, stage by stage."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.features.features import find_features
from synesthete.evaluation.hearing.answers import SPEAKERS, TAKES, answer, text_metrics
from synesthete.evaluation.hearing.ear import ear_metrics, fit_ear
from synesthete.evaluation.hearing.measures import HearingEvaluation, judged_features, measure_set, pictures_of
from synesthete.evaluation.hearing.page import hearing_report
from synesthete.evaluation.hearing.published import published_metrics
from synesthete.evaluation.hearing.retrieval import retrieve_classes, retrieve_own
from synesthete.evaluation.hearing.sensitivity import measure_sensitivity
from synesthete.evaluation.hearing.stages import judge_stages, stage_metrics
from synesthete.evaluation.hearing.strength import measure_base
from synesthete.evaluation.hearing.telling import draw_telling
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.pictures.evaluation import judge_fact
from synesthete.evaluation.pictures.measures import measure_memory, remarks
from synesthete.evaluation.reporting.provenance import listed, provenance
from synesthete.evaluation.reporting.report import write_report
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.features.features import Features
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

NUM_TEXTS = 200  # pictures for each figure of text
NUM_NOISED = 200  # pictures for the sensitivity and the validation loss
FEWEST_SOUNDS = 2


def evaluate(
    pipeline: Pipeline,
    prepared: Prepared,
    folder: Path,
    *,
    model: str = "",
    num: int = 500,
    seed: int = 0,
    features: str = "auto",
    judge: TrainedClassifier[ImageClassifier] | None = None,
    own_judge: TrainedClassifier[ImageClassifier] | None = None,
    stages: Mapping[str, Callable[[], Any]] | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> HearingEvaluation:
    """Evaluate a model that paints sounds by what its data held out, and write the report into `folder`.

    num: pictures to paint for each split. features: what sets of pictures are compared by, as `find_features`. judge:
    in place of the one trained on `prepared.judge` or found in the cache. own_judge: the one kept with the model, which
    stands in where the data have no pictures for a judge. stages: loads of the models kept after each stage, by name.
    model, command, progress: as of `pictures.evaluation.evaluate`.

    Raises:
        InputError: a model of other classes than the data's, no judge, too few real pictures or sounds, unknown
            features, and as `write_report`.
    """
    if tuple(pipeline.class_names) != tuple(prepared.class_names):
        raise InputError(
            f"the model paints {listed(pipeline.class_names)}, the data hold {listed(prepared.class_names)}; "
            "evaluate it on the data of its own recipe"
        )
    start = datetime.now(UTC)
    report = progress or (lambda *_: None)
    if judge is None and prepared.judge is not None and len(prepared.judge):
        judge = load_or_train_image_classifier(prepared.judge, prepared.test, prepared.class_names, progress=report)
    sees = judge.classifier if judge else own_judge.classifier if own_judge else None
    if sees is None:
        raise InputError("no pictures for a judge in the data and none with the model; --set data.num_judge=400")
    found = evaluate_hearing(
        pipeline, prepared, sees, find_features(features, sees), num=num, seed=seed, stages=stages, progress=report
    )
    found.judge = judge
    if own_judge is not None:
        # Of a model that learned from other pictures than these data have, it alone knows what they look like.
        found.metrics += [
            each.seen_by(own_judge.classifier).metric("judge kept with the model") for each in found.splits()
        ]
        found.metrics.append(own_judge.metric(found.real.held_out, found.real.labels, "held-out pictures"))
    found.skipped = list(prepared.skipped)
    found.notes += list(prepared.notes)
    told = [f"{len(each.seen)} pictures of {each.telling.num_sounds} sounds, {each.what}" for each in found.splits()]
    facts = provenance(pipeline, start, model, command) | {
        "sounds": f"{'; '.join(told)}; seed {seed}",
        "pictures": f"{len(found.real.labels)} of {len(prepared.test.labels)} held-out ones to compare with, "
        f"{len(prepared.train.labels)} that it was trained on",
        "features": f"{found.likenesses.features}, {found.likenesses.width} numbers a picture",
        "picture judge": judge_fact(judge, prepared) if judge else "the one kept with the model",
        "weights": "as they are saved: the average over training (EMA) where the recipe keeps one",
    }
    write_report(hearing_report(found, facts), Path(folder))
    return found


def evaluate_hearing(
    pipeline: Pipeline,
    prepared: Prepared,
    judge: ImageClassifier,
    features: Features,
    *,
    num: int = 500,
    seed: int = 0,
    stages: Mapping[str, Callable[[], Any]] | None = None,
    progress: Progress | None = None,
) -> HearingEvaluation:
    """Every figure of a model that paints sounds, each with its floor and its ceiling, on fixed noise and timesteps.

    Every held-out sound is told once before any is told again, with a caption that does not name its class. Chance is
    guessing; shuffled are the classes of other sounds; the ceiling is real held-out pictures of the same split.

    Raises:
        InputError: too few real pictures or sounds.
    """
    report = progress or (lambda *_: None)
    names = tuple(prepared.class_names)
    test = draw_telling(prepared.test, names, num, seed)
    if test.num_sounds < FEWEST_SOUNDS:
        raise InputError(f"{test.num_sounds} held-out sounds that go with a held-out picture; raise data.test_share")
    takes = answer(pipeline, judge, test, TAKES, len(names), seed, report)
    speakers = None
    if prepared.speakers is not None and len(prepared.speakers.sound_labels) >= FEWEST_SOUNDS:
        unheard = draw_telling(prepared.speakers, names, num, seed)
        speakers = answer(pipeline, judge, unheard, SPEAKERS, len(names), seed, report)
    splits = [takes, *([speakers] if speakers else [])]
    metrics = [each.metric() for each in splits]
    probe = fit_ear(pipeline, prepared.train, len(names), seed)
    if probe is not None:
        metrics += [metric for each in splits for metric in ear_metrics(pipeline, probe, each)]
    metrics += text_metrics(pipeline, judge, takes, NUM_TEXTS, report)

    painted, labels = takes.painted.pictures, test.labels
    likenesses, real = measure_set(features, prepared, painted, labels, seed, report)
    made, gallery = judged_features(judge, painted), judged_features(judge, test.samples.pictures)
    retrievals = [
        found
        for found in (
            retrieve_classes(made, labels, gallery, test.samples.labels, seed),
            retrieve_own(made, test, gallery, seed),
        )
        if found is not None
    ]
    metrics += [metric for found in retrievals for metric in found.metrics(test.num_sounds)]
    metrics += likenesses.metrics()
    memory = measure_memory(pictures_of(prepared), judge, painted, real, report)
    metrics += [metric for closeness in memory.closeness for metric in closeness.metrics()]
    sensitivity = measure_sensitivity(pipeline, test.few(NUM_NOISED), seed, report)
    metrics += sensitivity.metrics()
    base = measure_base(pipeline, test, seed)
    metrics += base.metrics() if base else []
    results = judge_stages(stages or {}, judge, test, seed, report)
    metrics += stage_metrics(results, takes.chance, takes.real)
    beside, notes = published_metrics(takes, names, prepared.test.sample_rate, report)
    metrics += beside
    settings = pipeline.sampling_settings()
    speed = f"{settings['num_inference_steps']} steps of {settings['sampler']}"
    metrics.append(Metric(f"seconds a picture ({speed}, sampling and decoding)", takes.painted.seconds))
    if test.captions is None and prepared.test.captions is not None:
        notes.append("every caption names its class, so sounds are told without text")
    return HearingEvaluation(
        class_names=names,
        takes=takes,
        speakers=speakers,
        real=real,
        real_seen=judge.classify(real.held_out),
        likenesses=likenesses,
        memory=memory,
        retrievals=retrievals,
        sensitivity=sensitivity,
        base=base,
        metrics=metrics,
        sample_rate=prepared.test.sample_rate,
        stages=results,
        notes=[*remarks(likenesses, real, True), *notes],
    )
