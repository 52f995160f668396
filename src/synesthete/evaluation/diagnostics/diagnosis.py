"""Every diagnostic on one model, as a report in pictures; and the small ones of a training, after its preview."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from synesthete.evaluation.classifiers.classifier import load_classifier
from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier
from synesthete.evaluation.diagnostics import DIAGNOSTICS, find_diagnostic
from synesthete.evaluation.diagnostics.embeddings import condition_embeddings
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.features import find_features
from synesthete.evaluation.reporting.report import Medium, Report, Section, Table, provenance, write_report
from synesthete.evaluation.runner import check_classes
from synesthete.executors import LOCAL, divide, executor
from synesthete.io import write_file
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.evaluation.diagnostics import Diagnostic
    from synesthete.pipeline import Pipeline

NONE = "none"
LOOKING = ("embeddings", "neighbours")  # diagnostics that see more with features of pictures
SUMMARY = "What the model does, in pictures on fixed seeds. Every figure in them is of held-out data."


def run_diagnostics(
    model: ModelUnderTest,
    folder: Path,
    *,
    name: str = "",
    only: Sequence[str] = (),
    progress: Progress | None = None,
    more: Callable[[Report, Path], None] | None = None,
) -> Report:
    """Look at a model through every diagnostic and write the report into `folder`.

    name: what the report calls the model. only: names of diagnostics; all where empty. progress(diagnostic, done,
    total). more: writes what else belongs to the report into its folder. The executor that was chosen divides the
    diagnostics. One that cannot look at this model is left out, which the report says.
    """
    names, pipeline = chosen(only), model.pipeline
    check_classes(pipeline, model.prepared.class_names, "names", "diagnose")
    pipeline.sampling_settings(**model.settings)
    start, report = datetime.now(UTC), progress or (lambda *_: None)
    found: dict[str, Section | InputError] = {}
    jobs = {diagnostic: (diagnostic, find_diagnostic(diagnostic)) for diagnostic in names}
    look = partial(look_through, model, report if executor() is LOCAL else None)
    for done, (diagnostic, seen) in enumerate(divide(look, jobs, "network"), 1):
        if only and isinstance(seen, InputError):
            raise seen
        found[diagnostic] = seen
        report("diagnostics", done, len(names))
    sections = {diagnostic: seen for diagnostic in names if isinstance(seen := found[diagnostic], Section)}
    left_out = {diagnostic: str(found[diagnostic]) for diagnostic in names if diagnostic not in sections}
    shown = list(sections.values())
    if left_out:
        shown.append(Section("Left out", "", [Table(("diagnostic", "why"), list(left_out.items()))]))
    facts = provenance(pipeline, start, name) | {"seed": model.seed}
    data = {"diagnostics": list(sections), "left_out": left_out}
    whole = Report(f"Diagnosis {name}".strip(), SUMMARY, facts, sections=shown, data=data)
    write_report(whole, folder, partial(more, whole) if more else None)
    return whole


def look_through(model: ModelUnderTest, progress: Progress | None, job: tuple[str, Diagnostic]) -> Section | InputError:
    """What one diagnostic shows, or why it cannot look at this model. progress: as of `run_diagnostics`."""
    name, diagnostic = job
    model.progress = progress and partial(progress, name)
    try:
        return diagnostic(model)
    except InputError as error:
        return error


def chosen(only: Sequence[str]) -> list[str]:
    """The names of the diagnostics to use, all of them known, in their order."""
    for name in only:
        find_diagnostic(name)
    return [name for name in DIAGNOSTICS if not only or name in only]


def choose_features(
    choice: str, names: Sequence[str], prepared: Prepared, folder: Path, progress: Progress | None = None
) -> Any:
    """What the diagnostics called `names` are to compare pictures by, or None where none of them does.

    choice: as `find_features`, or NONE. folder: the model's; the classifier in it is taken, or one is trained now.
    """
    # Of a diagnostic from outside the package nobody knows whether it uses features.
    looking = any(name in LOOKING or not isinstance(DIAGNOSTICS[name], str) for name in names)
    if choice == NONE or prepared.classifier is None or not looking:
        return None
    if choice not in ("auto", "classifier"):  # no classifier is needed
        return find_features(choice, None)
    kept = load_classifier(folder, ImageClassifier)
    if kept is None and len(prepared.classifier):
        sides = prepared.classifier, prepared.test, prepared.class_names
        kept = load_or_train_image_classifier(*sides, progress=progress)
    return find_features(choice, kept.classifier if kept else None)


AT_PREVIEWS = ("embeddings", "denoising", "classes", "reconstruction", "reconstruction-sweep")

logger = logging.getLogger(__name__)


def show_diagnostics(pipeline: Pipeline, prepared: Prepared, folder: Path, step: int, log: Any) -> None:
    """Write what the diagnostics see to `folder/step_N-NAME.png` (and .gif) and to the run's log.

    A diagnostic that cannot look at this model is left out; one that fails, or a picture that cannot be written, costs
    a line, never the run.
    """
    model = ModelUnderTest(pipeline, prepared, num=8, num_shown=8, num_seeds=2, num_steps=20)
    for name in AT_PREVIEWS:
        with _costs_a_line(step, f"picture of {name}"):
            try:
                items = find_diagnostic(name)(model).items
            except InputError:
                continue
            for medium in (item for item in items if isinstance(item, Medium)):
                path = folder / f"step_{step:07d}-{medium.name.replace(' ', '-')}.{medium.kind}"
                write_file(path, medium.content)
                if medium.kind == "png":
                    log.picture(medium.name, Image.open(io.BytesIO(medium.content), formats=["PNG"]), step)
    with _costs_a_line(step, "embeddings"):
        try:
            embeddings = condition_embeddings(model)
        except InputError:
            return
        for found in embeddings:
            log.embedding(found.name, found.vectors, found.metadata())


@contextlib.contextmanager
def _costs_a_line(step: int, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning("step %d: no %s (%s: %s)", step, what, type(error).__name__, error)
