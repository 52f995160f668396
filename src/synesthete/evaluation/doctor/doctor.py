"""All checks of a run or a model, and the report of them, with its losses in pictures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from synesthete.evaluation.doctor.check import Check, table, worst
from synesthete.evaluation.doctor.model import examine_model
from synesthete.evaluation.doctor.run import RunRecord, StageRecord, examine_run
from synesthete.evaluation.reporting.figures import COLOURS, Panel, curves_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.provenance import provenance
from synesthete.evaluation.reporting.report import Medium, Report, Section, write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synesthete.pipeline import Pipeline
    from synesthete.tasks import Task
    from synesthete.types import Prepared, Progress


SUMMARY = "Every check with its verdict, the figure that it rests on, and what to do about it."


def loss_figure(record: StageRecord) -> Figure:
    """Loss and gradient norm of a stage by step, both in logarithms; each rollback from a spike is marked."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axes, name, colour in ((upper, "loss", COLOURS[0]), (lower, "gradient_norm", COLOURS[1])):
        steps, values = record.series(name)
        axes.plot(steps, values, color=colour, linewidth=0.8)
        if values and min(values) > 0:
            axes.set_yscale("log")
        axes.set_ylabel(name.replace("_", " "))
    for name, style, label in (
        ("held_out_loss", "o-", "held out, averaged weights"),
        ("raw_held_out_loss", "x:", "held out, as trained"),
    ):
        steps, values = record.series(name)
        if values:
            upper.plot(steps, values, style, color=COLOURS[2], markersize=4, linewidth=0.8, label=label)
    for number, found in enumerate(record.rollbacks):
        once = {"label": "went back from a spike"} if number == 0 else {}
        upper.plot(found["step"], found["reached"], "v", color=COLOURS[3], **once)
        upper.plot([found["step"], found["to"]], [found["reached"], found["level"]], ":", color=COLOURS[3])
    lower.axhline(record.stage.gradient_clip, color="grey", linewidth=0.8, linestyle="--")
    if upper.get_legend_handles_labels()[0]:
        upper.legend(fontsize=8)
    lower.set_xlabel("step")
    upper.set_title(f"stage {record.stage.name}", fontsize=10)
    return figure


def timestep_losses_figure(record: StageRecord) -> Figure | None:
    """The loss by timestep at the beginning, halfway and now; None where it was not written."""
    found = [line["loss_by_timestep"] for line in record.lines if isinstance(line.get("loss_by_timestep"), list)]
    lines = [losses for losses in found if len(losses) == len(found[-1])]
    if not lines:
        return None
    table, size = np.ma.masked_invalid(np.array(lines, dtype=float)), max(len(lines) // 10, 1)  # (lines, bins)
    thirds = {"at first": table[:size], "halfway": table[len(lines) // 2 :][:size], "now": table[-size:]}
    curves = {name: some.mean(axis=0).filled(np.nan) for name, some in thirds.items()}
    x = ((np.arange(table.shape[1]) + 0.5) / table.shape[1]).tolist()
    return curves_figure([Panel(f"stage {record.stage.name}", "way to noise", "loss", x, curves, log_y=True)])


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
    start, x_0 = datetime.now(UTC), None
    checks = examine_run(run) if run else []
    if pipeline:
        found, x_0 = examine_model(pipeline, num=num, seed=seed, prepared=prepared, run=run, progress=progress)
        checks += [replace(check, name=f"model: {check.name}") for check in found] if run else found
    if folder:
        facts: dict[str, Any] = provenance(pipeline, start, name) if pipeline else {"run": name}
        items = _pictures(run) if run else []
        if pipeline and x_0 is not None and x_0.isfinite().all():
            pictures = task.thumbnails(pipeline, x_0) if task else pipeline.codec.pictures(x_0)
            sheet = encode_png(draw_sheet([pictures], [""]))
            items.append(Medium("samples", sheet, "The samples whose values were looked at."))
        write_checks(f"Doctor {name}".strip(), checks, folder, items, SUMMARY, facts)
    return checks


def write_checks(
    title: str,
    checks: Sequence[Check],
    folder: Path,
    items: Sequence[Medium] = (),
    summary: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the report on some checks, with pictures.

    Raises:
        InputError: as `write_report`.
    """
    sections = [Section("Checks", f"The worst verdict is {worst(checks)}.", [table(checks)])]
    sections += [Section("Pictures", "", items)] if items else []
    data = {"verdict": worst(checks), "checks": list(map(vars, checks))}
    write_report(Report(title, summary, dict(facts or {}), sections=sections, data=data), folder)


def _pictures(run: RunRecord) -> list[Medium]:
    found = []
    for record in run.stages:
        if record.series("loss")[1]:
            name = f"loss {record.stage.name}"
            found.append(Medium(name, to_png(loss_figure(record)), "Loss and gradient norm by step."))
        if figure := timestep_losses_figure(record):
            name = f"loss by timestep {record.stage.name}"
            found.append(Medium(name, to_png(figure), "Loss by timestep: at first, halfway and now."))
    return found
