"""`synesthete sweep`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.lists import listed, numbers
from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, ModelName, finish, progress_bar

OWN = "the model's own where not given"


def sweep(
    model: ModelName,
    out: Annotated[
        Path | None, typer.Option(help="The sweep's folder; RUN/sweep or out/sweep/MODEL by default.")
    ] = None,
    schedulers: Annotated[list[str] | None, typer.Option(help=f"Noise schedules: cosine, linear, flow; {OWN}.")] = None,
    samplers: Annotated[
        list[str] | None, typer.Option(help=f"ddim, dpmsolver++, euler, flow-euler, ...; {OWN}.")
    ] = None,
    cfg: Annotated[
        list[str] | None,
        typer.Option(
            "--cfg", "--guidance-scale", help=f"Guidance scales: 1 is off, 0 is without the condition; {OWN}."
        ),
    ] = None,
    eta: Annotated[
        list[str] | None, typer.Option(help="Of ddim: 0 adds no noise in a step, 1 as much as DDPM does.")
    ] = None,
    steps: Annotated[list[str] | None, typer.Option(help=f"Numbers of sampling steps; {OWN}.")] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--labels", "--label", help="Class names or numbers; all where not given.")
    ] = None,
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", "--seed", help="Of the noise; 0 where not given.")
    ] = None,
    num: Annotated[int, typer.Option(help="Pictures of each label at each seed in a cell.", min=1)] = 24,
    untrained_schedules: Annotated[
        bool,
        typer.Option("--untrained-schedules", help="Allow schedules that the model was not trained with."),
    ] = False,
    features: Annotated[
        str, typer.Option(help="auto, classifier, inception, clip, or a network's folder: what KID is measured on.")
    ] = "auto",
    data: DataFolder = None,
    assignments: Assignments = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Sample the same noise in many ways: a grid and a figure for each, one contact sheet, one table, one report.

    MODEL comes first. An option takes several values: `--cfg 0 1.5 3`, `--cfg 0,1.5,3` or `--cfg 0 --cfg 1.5`. What
    OUT holds already is kept: run again, it goes on where it stopped, and other values add cells to it. Any other
    setting of the sampling is changed in all cells by `--set sampling.NAME=VALUE`.

    Examples: `synesthete sweep runs/mine --cfg 0 1.5 3 6 9 --eta 0 1 --samplers ddim --labels cat dog --seed 42`,
    `synesthete sweep runs/mine --schedulers cosine linear --untrained-schedules --samplers ddim dpmsolver++`,
    `synesthete sweep images-digits --cfg 1,2,4 --steps 10,20 --num 8 --out out/sweep`
    """
    from synesthete import hub
    from synesthete.cli.evaluate import recipe_of
    from synesthete.evaluation.reporting.report import finite
    from synesthete.evaluation.search.grid import find_labels, plan
    from synesthete.evaluation.search.scoring import Scorer
    from synesthete.evaluation.search.sweep import Samples
    from synesthete.evaluation.search.sweep import sweep as sweep_model
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import task_of

    tried = {
        "schedules": listed(schedulers),
        "samplers": listed(samplers),
        "guidance": numbers("--cfg", cfg, finite_number),
        "etas": numbers("--eta", eta, finite_number),
        "steps": numbers("--steps", steps, int),
    }
    own_seeds = tuple(dict.fromkeys(numbers("--seeds", seeds, int))) or (0,)
    pipeline, folder = Pipeline.load(model, device), hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments or ())
    task = task_of(recipe)
    task.check_scorable(features)
    changed = [key.partition(".")[2] for a in assignments or () if (key := a.partition("=")[0]).startswith("sampling.")]
    changes = {name: getattr(recipe.sampling, name) for name in changed}
    names = pipeline.class_names or list(recipe.data().class_names)
    chosen = find_labels(listed(labels, names), names)
    cells = plan(pipeline, **tried, untrained=untrained_schedules, changes=changes)
    target = out or (
        Path(model) / "sweep" if (Path(model) / "model").is_dir() else Path("out/sweep") / Path(model).name
    )
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        prepared, saved = task.prepare(recipe, data, report), task.load_classifier(folder)
        basis = task.scoring_basis(pipeline, prepared, features=features, saved=saved, progress=report)
        scorer, samples = Scorer(pipeline, basis), Samples(tuple(chosen), own_seeds, num)
        found = sweep_model(scorer, cells, samples, target, model=model, changes=changes, progress=report)
    page = target / "report" / "report.html"
    values = {
        "cells": [{**vars(made.cell), **made.figures, "num": made.num} for made in found],
        "notes": list(cells.notes),
        "report": str(page.parent),
    }
    finish(as_json, finite(values), f"{len(found)} cells in {target}\n{page}")


def finite_number(text: str) -> float:
    """The number that the text spells.

    Raises:
        ValueError: none, or one that is not finite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
