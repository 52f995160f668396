"""Are they good pictures? What a model of pictures is worth: by a judge, as a set, as a copyist and by its own loss."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.features.features import find_features
from synesthete.evaluation.metrics.classification import class_metrics
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.pictures.likeness import measure_likeness
from synesthete.evaluation.pictures.measures import (
    JUDGE,
    PictureEvaluation,
    measure_denoising,
    measure_memory,
    remarks,
)
from synesthete.evaluation.pictures.page import picture_report
from synesthete.evaluation.pictures.real_pictures import dealt, draw_labels, draw_real
from synesthete.evaluation.pictures.scoring import Scorer
from synesthete.evaluation.reporting.provenance import listed, provenance
from synesthete.evaluation.reporting.report import write_report
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.features.features import Features
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

GUIDANCE = (0.0, 1.0, 1.5, 2.0, 4.0, 6.0)
NUM_SWEPT = 200  # pictures at each guidance scale


def evaluate(
    pipeline: Pipeline,
    prepared: Prepared,
    folder: Path,
    *,
    model: str = "",
    num: int = 500,
    seed: int = 0,
    features: str = "auto",
    guidance: Sequence[float] = GUIDANCE,
    judge: TrainedClassifier[ImageClassifier] | None = None,
    own_judge: TrainedClassifier[ImageClassifier] | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> PictureEvaluation:
    """Evaluate a model of pictures beside its data's held-out ones and write the report into `folder`.

    model, command: how the report calls them; the command line of this process where None. num: pictures to make.
    features: what sets are compared by, as `find_features`. judge: in place of the one that is trained on
    `prepared.judge` or found in the cache. own_judge: the one kept with the model, which is then measured as well, and
    stands in where the data have no pictures for a judge. progress(what, done, total).

    Raises:
        InputError: a model of other classes than the data's, too few real pictures, unknown features, and as
            `write_report`.
    """
    if pipeline.is_conditional and tuple(pipeline.class_names) != tuple(prepared.class_names):
        raise InputError(
            f"the model draws {listed(pipeline.class_names)}, the data show {listed(prepared.class_names)}; "
            "evaluate it on the data of its own recipe"
        )
    start = datetime.now(UTC)
    report = progress or (lambda *_: None)
    if judge is None and prepared.judge is not None and len(prepared.judge):
        judge = load_or_train_image_classifier(prepared.judge, prepared.test, prepared.class_names, progress=report)
    sees = judge.classifier if judge else own_judge.classifier if own_judge else None
    if sees is None and pipeline.is_conditional:
        raise InputError("no pictures for a judge in the data and none with the model; --set data.num_judge=400")
    found = evaluate_pictures(
        pipeline, prepared, sees, find_features(features, sees), num=num, guidance=guidance, seed=seed, progress=report
    )
    found.judge = judge
    if own_judge is not None:
        found.metrics.append(own_judge.metric(found.real.held_out, found.real.labels, "held-out pictures"))
    found.skipped = list(prepared.skipped)
    found.notes += list(prepared.notes)
    facts = provenance(pipeline, start, model, command) | {
        "pictures": f"{len(found.made)} made, seed {seed}; {len(found.real.labels)} of {len(prepared.test)} held-out "
        f"ones, {len(prepared.train)} that it was trained on",
        "features": f"{found.likenesses.features}, {found.likenesses.width} numbers a picture",
        "picture judge": judge_fact(judge, prepared) if judge else "the one kept with the model" if sees else "none",
        "weights": "as they are saved: the average over training (EMA) where the recipe keeps one",
    }
    write_report(picture_report(pipeline, found, facts), Path(folder))
    return found


def evaluate_pictures(
    pipeline: Pipeline,
    prepared: Prepared,
    judge: ImageClassifier | None,
    features: Features,
    *,
    num: int = 500,
    guidance: Sequence[float] = GUIDANCE,
    seed: int = 0,
    progress: Progress | None = None,
) -> PictureEvaluation:
    """Every figure of a model of pictures, each with its floor and its ceiling, on fixed noise and timesteps.

    The classes asked for are drawn at random, as often as held-out pictures show them. Chance is guessing (one over the
    number of classes) for the judge, and all real pictures' pixels dealt out at random for what compares sets. The
    ceiling is real held-out pictures: judged, or against as many other real ones.

    A model that is told no class has no class figures, and no guidance.

    Raises:
        InputError: too few real pictures.
    """
    report = progress or (lambda *_: None)
    told = pipeline.is_conditional
    real = draw_real(prepared, num, seed)
    labels = draw_labels(prepared, num, seed)
    scorer = Scorer(pipeline, prepared, judge, features, seed)  # type: ignore[arg-type]
    made, seconds = scorer.sample({}, labels, seed, progress=lambda done, total: report("sampling", done, total))

    metrics: list[Metric] = []
    answers = real_answers = None
    if told and judge is not None:
        answers, real_answers = judge.classify(made), judge.classify(real.held_out)
        names, num_classes = (JUDGE, "pictures"), len(prepared.class_names)
        metrics += class_metrics(names, answers, labels, real_answers, real.labels, num_classes, seed)
    groups = (labels, real.labels, real.other_labels) if told else (0 * labels, 0 * real.labels, 0 * real.other_labels)
    sets = {
        "held out": (real.held_out, groups[1]),
        "others": (real.others, groups[2]),
        "worst": (dealt(real.others, seed), groups[2]),
    }
    within = "a class" if told else "all pictures"
    likenesses = measure_likeness(features, made, groups[0], sets, within=within, seed=seed, report=report)
    metrics += likenesses.metrics()
    memory = measure_memory(prepared, judge, made, real, report)
    metrics += [metric for found in memory.closeness for metric in found.metrics()]
    denoising = measure_denoising(pipeline, prepared, real, seed, report)
    metrics += denoising.metrics
    settings = pipeline.sampling_settings()
    speed = f"batch of {min(scorer.batch_size, num)}, {settings['num_inference_steps']} steps of {settings['sampler']}"
    metrics.append(Metric(f"seconds a picture ({speed}, sampling and decoding)", seconds))
    sweep = {}
    if told and judge is not None:
        asked = labels[: min(NUM_SWEPT, num)]
        for scale in sorted({*guidance, settings["guidance_scale"]}) if guidance else []:
            name = f"guidance {scale:g}"
            sweep[scale] = scorer.score(
                {"guidance_scale": scale}, asked, seed, progress=lambda *count, name=name: report(name, *count)
            )
    return PictureEvaluation(
        class_names=tuple(prepared.class_names),
        made=made,
        labels=labels,
        real=real,
        metrics=metrics,
        likenesses=likenesses,
        memory=memory,
        denoising=denoising,
        seconds_per_picture=seconds,
        answers=answers,
        real_answers=real_answers,
        sweep=sweep,
        notes=remarks(likenesses, real, told),
    )


def judge_fact(judge: TrainedClassifier[ImageClassifier], prepared: Prepared) -> str:
    """How the judge came to be, in one line."""
    return (
        f"trained in {judge.seconds:.0f} s on {len(prepared.judge)} real pictures that the model never saw; "
        f"accuracy {judge.accuracy:.3f} on {judge.num_test} held-out ones"
    )
