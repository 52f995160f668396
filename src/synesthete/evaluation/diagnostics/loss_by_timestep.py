"""The denoising error by timestep, of samples trained on and of samples held out: the gap is over-fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.diagnostics.curves import TIMESTEP, Panel, curves_figure, with_interval
from synesthete.evaluation.diagnostics.tracing import FRACTIONS, trace, trace_shrinking, training
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.objectives import measure_gap, percent

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.objectives import StepErrors

HOW = (
    "How wrong one step of the network is, by how noisy its input is, on the same noise for samples that it was "
    "trained on (not augmented) and for samples held out. Where the curves part, the model knows its training samples "
    "better than others: it over-fits. Dotted: no network, each pixel drawn towards its mean, on held-out samples; a "
    "network has to be below."
)
NUM_TIMES = 4  # as many samples as other diagnostics look at
MOST_ROWS = 30


def loss_by_timestep(model: ModelUnderTest) -> Section:
    """Curves and table by timestep in the loss space and of x_0, and the gap of each class."""
    num = NUM_TIMES * model.num
    batches = {"training": training(model, num), "held out": model.held_out(num)}
    x_0 = {name: model.x_0(batch) for name, batch in batches.items()}
    traces = {name: trace(model, x_0[name], {name: batch.raw})[name] for name, batch in batches.items()}
    floor = trace_shrinking(model, x_0["held out"])
    gap = measure_gap(traces["training"].loss, traces["held out"].loss)
    space = model.pipeline.process.loss_space
    figure = curves_figure(
        [
            _panel(f"as the loss counts it ({space})", f"MSE of {space}", traces, floor, "loss"),
            _panel("of x_0", "MSE of x_0 (unit variance)", traces, floor, "x_0", log=True),
        ]
    )
    medium = Medium("loss-by-timestep", to_png(figure), "denoising error by timestep, training and held out")
    labels = {name: batch.label for name, batch in batches.items()}
    items: list[Medium | Table] = [medium, _by_timestep(traces, floor, space)]
    if model.is_conditional and len(model.class_names) > 1:
        items.append(_by_class(traces, labels, model.class_names))
    return Section("Loss by timestep", f"{HOW} In short, {gap}.", items)


def _panel(
    title: str, ylabel: str, traces: dict[str, StepErrors], floor: StepErrors, which: str, log: bool = False
) -> Panel:
    curves = {f"{name} (n = {t.loss.shape[1]})": with_interval(getattr(t, which)) for name, t in traces.items()}
    floors = {"no network": getattr(floor, which).mean(dim=1)}
    return Panel(title, TIMESTEP, ylabel, FRACTIONS, curves, floors, log_y=log)


def _by_timestep(traces: dict[str, StepErrors], floor: StepErrors, space: str) -> Table:
    columns = [f"{which}, {name}" for which in (space, "x_0") for name in ("training", "held out", "no network")]
    every = [*traces.values(), floor]
    means = [t.loss.mean(dim=1).tolist() for t in every] + [t.x_0.mean(dim=1).tolist() for t in every]
    rows = [(fraction, *values) for fraction, *values in zip(FRACTIONS, *means, strict=True)]
    return Table(("t / T", *columns), rows, f"mean square error by timestep, n = {every[1].loss.shape[1]}")


def _by_class(traces: dict[str, StepErrors], labels: dict[str, Tensor], class_names: list[str]) -> Table:
    """The classes with the largest gap first."""
    rows = []
    for number in torch.cat(list(labels.values())).unique().tolist():
        seen, held_out = (trace.loss[:, labels[name] == number] for name, trace in traces.items())
        if seen.shape[1] > 1 and held_out.shape[1] > 1:
            gap = measure_gap(seen, held_out)
            interval = f"{percent(gap.low)} to {percent(gap.high)}"
            n = f"{seen.shape[1]}, {held_out.shape[1]}"
            rows.append((class_names[number], gap.training, gap.held_out, percent(gap.share), interval, n, gap.share))
    rows.sort(key=lambda row: -row[-1])
    columns = ("class", "training", "held out", "gap", "95% interval", "n")
    return Table(columns, [row[:-1] for row in rows[:MOST_ROWS]], "mean loss over all timesteps, by class")
