"""The losses of a run in a picture: their way down, their spikes, and where on the way to noise they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from synesthete.evaluation.reporting.figures import COLOURS

if TYPE_CHECKING:
    from synesthete.evaluation.doctor.record import StageRecord


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
