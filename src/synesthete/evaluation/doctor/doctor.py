"""All checks of a run or a model, and the report of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.doctor.check import table, worst
from synesthete.evaluation.doctor.figures import loss_figure, timestep_losses_figure
from synesthete.evaluation.doctor.model import examine_model
from synesthete.evaluation.doctor.run import examine_run
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.provenance import provenance
from synesthete.evaluation.reporting.report import Medium, Report, Section, write_report
from synesthete.objectives import DataRange

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.doctor.check import Check
    from synesthete.evaluation.doctor.record import RunRecord
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import Task
    from synesthete.types import Prepared, Progress


SUMMARY = "Every check with its verdict, the figure that it rests on, and what to do about it."


def examine(
    run: RunRecord | None,
    pipeline: Pipeline | None,
    folder: Path | None = None,
    *,
    name: str = "",
    prepared: Prepared | None = None,
    task: Task | None = None,
    num: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Check]:
    """Every check of a run, of a model, or of both; a report with pictures in `folder` where one is given.

    name: what the report calls it. prepared: the model's data, where they are at hand. task: draws the samples, the
    codec where None. num: samples.

    Raises:
        InputError: as `write_report`.
    """
    start = datetime.now(UTC)
    checks, x_0 = examine_run(run) if run else [], None
    if pipeline:
        checkpoint = run.current.checkpoints[-1] if run and run.current.checkpoints else None
        found, x_0 = examine_model(
            pipeline,
            num=num,
            seed=seed,
            prepared=prepared,
            known=known_range(run) if run else None,
            checkpoint=checkpoint,
            progress=progress,
        )
        checks += [replace(check, name=f"model: {check.name}") for check in found] if run else found
    if folder:
        facts: dict[str, Any] = provenance(pipeline, start, name) if pipeline else {"run": name}
        items = _pictures(run) + _samples(pipeline, x_0, task)
        sections = [Section("Checks", f"The worst verdict is {worst(checks)}.", [table(checks)])]
        sections += [Section("Pictures", "", items)] if items else []
        data = {"verdict": worst(checks), "checks": [check.to_dict() for check in checks]}
        write_report(Report(f"Doctor {name}".strip(), SUMMARY, facts, sections=sections, data=data), folder)
    return checks


def known_range(run: RunRecord) -> DataRange | None:
    """The range of the data that a run wrote down."""
    line = run.current.last("data_low", "data_high")
    return DataRange(line["data_low"], line["data_high"], line.get("data_share_clipped")) if line else None


def _pictures(run: RunRecord | None) -> list[Medium]:
    found = []
    for record in run.stages if run else ():
        if record.series("loss")[1]:
            name = f"loss {record.stage.name}"
            found.append(Medium(name, to_png(loss_figure(record)), "Loss and gradient norm by step."))
        if figure := timestep_losses_figure(record):
            name = f"loss by timestep {record.stage.name}"
            found.append(Medium(name, to_png(figure), "Loss by timestep: at first, halfway and now."))
    return found


def _samples(pipeline: Pipeline | None, x_0: Tensor | None, task: Task | None) -> list[Medium]:
    if pipeline is None or x_0 is None or not x_0.isfinite().all():
        return []
    pictures = task.thumbnails(pipeline, x_0) if task else pipeline.codec.pictures(x_0)
    sheet = draw_sheet([pictures], [""])
    return [Medium("samples", encode_png(sheet), "The samples whose values were looked at.")]
