"""All checks of a run or a model, and the report of them, with its losses in pictures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from synesthete.evaluation.doctor.check import table, worst
from synesthete.evaluation.doctor.model import examine_model
from synesthete.evaluation.doctor.run import examine_run
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.provenance import provenance
from synesthete.evaluation.reporting.report import Medium, Report, Section, write_report
from synesthete.objectives.ranges import DataRange

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.doctor.check import Check
    from synesthete.evaluation.doctor.run import RunRecord, StageRecord
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import Task
    from synesthete.types import Prepared, Progress


SUMMARY = "Every check with its verdict, the figure that it rests on, and what to do about it."


def loss_figure(record: StageRecord) -> Figure:
    """Loss and gradient norm of a stage by step, both in logarithms; each rollback from a spike is marked."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for place, name, colour in zip(axes, ("loss", "gradient_norm"), COLOURS, strict=False):
        steps, values = record.series(name)
        place.plot(steps, values, color=colour, linewidth=0.8)
        if values and min(values) > 0:
            place.set_yscale("log")
        place.set_ylabel(name.replace("_", " "))
    for name, style in (("held_out_loss", "o-"), ("raw_held_out_loss", "x:")):
        steps, values = record.series(name)
        if values:
            label = "held out, averaged weights" if name == "held_out_loss" else "held out, as trained"
            axes[0].plot(steps, values, style, color=COLOURS[2], markersize=4, linewidth=0.8, label=label)
    for number, found in enumerate(record.rollbacks):
        once = {"label": "went back from a spike"} if number == 0 else {}
        axes[0].plot(found["step"], found["reached"], "v", color=COLOURS[3], **once)
        axes[0].plot([found["step"], found["to"]], [found["reached"], found["level"]], ":", color=COLOURS[3])
    axes[1].axhline(record.stage.gradient_clip, color="grey", linewidth=0.8, linestyle="--")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=8)
    axes[1].set_xlabel("step")
    axes[0].set_title(f"stage {record.stage.name}", fontsize=10)
    return figure


def timestep_losses_figure(record: StageRecord) -> Figure | None:
    """The loss by timestep at the beginning, halfway and now; None where it was not written."""
    lines = [line["loss_by_timestep"] for line in record.lines if "loss_by_timestep" in line]
    if not lines:
        return None
    size = max(len(lines) // 10, 1)
    thirds = {"at first": lines[:size], "halfway": lines[len(lines) // 2 :][:size], "now": lines[-size:]}
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for (label, some), colour in zip(thirds.items(), COLOURS, strict=False):
        table = np.ma.masked_invalid(np.array(some, dtype=float))  # (lines, bins), None is NaN
        means = table.mean(axis=0).filled(np.nan)
        axes.plot((np.arange(len(means)) + 0.5) / len(means), means, "o-", color=colour, markersize=4, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("way to noise")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
    axes.set_title(f"stage {record.stage.name}", fontsize=10)
    return figure


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
