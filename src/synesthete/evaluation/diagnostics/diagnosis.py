"""Every diagnostic on one model, as a report in pictures."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.classifiers.classifier import load_classifier
from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier
from synesthete.evaluation.diagnostics import DIAGNOSTICS, find_diagnostic
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.features import find_features
from synesthete.evaluation.reporting.provenance import listed, provenance
from synesthete.evaluation.reporting.report import Report, Section, Table, write_report
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.evaluation.features import Features
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import Task
    from synesthete.types import Prepared, Progress


NONE = "none"
LOOKING = ("embeddings", "neighbours")  # diagnostics that see more with features of pictures
SUMMARY = "What the model does, in pictures on fixed seeds. Every figure in them is of held-out data."


def run_diagnostics(
    pipeline: Pipeline,
    prepared: Prepared,
    folder: Path,
    *,
    model: str = "",
    only: Sequence[str] = (),
    seed: int = 0,
    num: int = 64,
    reconstruct_from: float = 0.6,
    settings: dict[str, Any] | None = None,
    features: Features | None = None,
    task: Task | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at a model through every diagnostic and write the report into `folder`.

    model: what the report calls it. only: names of diagnostics; all where empty. num, reconstruct_from, settings,
    features, task: as of a `ModelUnderTest`. progress(diagnostic, done, total). A diagnostic that cannot look at this
    model is left out, which the report says.

    Raises:
        InputError: an unknown diagnostic, one of `only` that cannot look at this model, a model of other classes than
            the data's, a sampling setting that does not fit, and as `write_report`.
    """
    names = chosen(only)
    if pipeline.class_names and tuple(pipeline.class_names) != tuple(prepared.class_names):
        raise InputError(
            f"the model names {listed(pipeline.class_names)}, the data {listed(prepared.class_names)}; "
            "diagnose it on the data of its own recipe"
        )
    start, report = datetime.now(UTC), progress or (lambda *_: None)
    settings = settings or {}
    under_test = ModelUnderTest(
        pipeline,
        prepared,
        seed,
        num,
        reconstruct_from=reconstruct_from,
        settings=settings,
        features=features,
        task=task,
    )
    pipeline.sampling_settings(**settings)
    sections: dict[str, Section] = {}
    left_out: dict[str, str] = {}
    for done, name in enumerate(names):
        under_test.progress = partial(report, name)
        try:
            sections[name] = find_diagnostic(name)(under_test)
        except InputError as error:
            if only:
                raise
            left_out[name] = str(error)
        report("diagnostics", done + 1, len(names))
    shown = list(sections.values())
    if left_out:
        shown.append(Section("Left out", "", [Table(("diagnostic", "why"), list(left_out.items()))]))
    facts = provenance(pipeline, start, model) | {"seed": seed}
    data = {"diagnostics": list(sections), "left_out": left_out}
    found = Report(f"Diagnosis {model}".strip(), SUMMARY, facts, sections=shown, data=data)
    write_report(found, folder)
    return found


def chosen(only: Sequence[str]) -> list[str]:
    """The names of the diagnostics to use, in their order.

    Raises:
        InputError: an unknown one, with the nearest that there is.
    """
    for name in only:
        find_diagnostic(name)
    return [name for name in DIAGNOSTICS if not only or name in only]


def choose_features(
    choice: str, names: Sequence[str], prepared: Prepared, folder: Path, progress: Progress | None = None
) -> Features | None:
    """What the diagnostics called `names` are to compare pictures by, or None where none of them does.

    choice: as `find_features`, or NONE. folder: the model's; the classifier in it is taken, or one is trained now.

    Raises:
        InputError: as `find_features`.
    """
    if choice == NONE or prepared.classifier is None or not any(map(_sees_features, names)):
        return None
    if choice not in ("auto", "classifier"):  # no classifier is needed
        return find_features(choice, None)
    kept = load_classifier(folder, ImageClassifier)
    classifier = kept.classifier if kept else None
    if classifier is None and len(prepared.classifier):
        trained = load_or_train_image_classifier(
            prepared.classifier, prepared.test, prepared.class_names, progress=progress
        )
        classifier = trained.classifier
    return find_features(choice, classifier)


def _sees_features(name: str) -> bool:
    """Whether a diagnostic may use features; of one from outside the package, nobody knows."""
    return name in LOOKING or not isinstance(DIAGNOSTICS[name], str)
