"""`synesthete sweep` and `synesthete tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli import options
from synesthete.cli.options import samplers as names_of_samplers
from synesthete.tasks.model import scorer_of
from synesthete.types import InputError

OWN = "the model's own where not given"
Features = Annotated[
    str, typer.Option(help="auto, classifier, inception, clip, or a network's folder: what KID is measured on.")
]


def sweep(
    model: options.ModelName,
    out: Annotated[
        Path | None, typer.Option(help="The sweep's folder; RUN/sweep or out/sweep/MODEL by default.")
    ] = None,
    schedulers: Annotated[list[str] | None, typer.Option(help=f"Noise schedules: cosine, linear, flow; {OWN}.")] = None,
    samplers: Annotated[
        list[str] | None,
        typer.Option(help=f"ddim, dpmsolver++, euler, flow-euler, ...; {OWN}.", autocompletion=names_of_samplers),
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
        list[str] | None,
        typer.Option(
            "--labels",
            "--label",
            help="Class names or numbers; all where not given.",
            autocompletion=options.completer("labels"),
        ),
    ] = None,
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", "--seed", help="Of the noise; 0 where not given.")
    ] = None,
    num: Annotated[int, typer.Option(help="Pictures of each label at each seed in a cell.", min=1)] = 24,
    untrained_schedules: Annotated[
        bool,
        typer.Option("--untrained-schedules", help="Allow schedules that the model was not trained with."),
    ] = False,
    features: Features = "auto",
    data: options.DataFolder = None,
    assignments: options.Assignments = None,
    device: options.Device = "auto",
    on: options.On = "local",
    as_json: options.AsJson = False,
) -> None:
    """Sample the same noise in many ways: a grid and a figure for each, one contact sheet, one table, one report.

    MODEL comes first. An option takes several values: `--cfg 0 1.5 3`, `--cfg 0,1.5,3` or `--cfg 0 --cfg 1.5`. What
    OUT holds already is kept: run again, it goes on where it stopped, and other values add cells to it. Any other
    setting of the sampling is changed in all cells by `--set sampling.NAME=VALUE`.

    Examples: `synesthete sweep runs/mine --cfg 0 1.5 3 6 9 --eta 0 1 --samplers ddim --labels cat dog --seed 42`,
    `synesthete sweep runs/mine --schedulers cosine linear --untrained-schedules --samplers ddim dpmsolver++`,
    `synesthete sweep images-digits --cfg 1,2,4 --steps 10,20 --num 8 --out out/sweep`,
    `synesthete sweep runs/mine --cfg 1 2 4 --steps 10 20 --out /shared/sweep --on ray`
    """
    from synesthete.evaluation.search.space import find_labels, plan_sweep
    from synesthete.evaluation.search.sweep import SweepSamples, run_sweep
    from synesthete.executors import working_on

    tried = {
        "schedules": options.split_commas(schedulers),
        "samplers": options.split_commas(samplers),
        "guidance": options.parse_numbers("--cfg", cfg, float),
        "etas": options.parse_numbers("--eta", eta, float),
        "steps": options.parse_numbers("--steps", steps, int),
    }
    own_seeds = tuple(dict.fromkeys(options.parse_numbers("--seeds", seeds, int))) or (0,)
    pipeline, folder, recipe, task = options.open_model(model, device, assignments)
    task.check_scorable(features)
    names = pipeline.class_names or list(recipe.data().class_names)
    samples = SweepSamples(tuple(find_labels(options.split_commas(labels, names), names)), own_seeds, num)
    changes = options.sampling_changes(recipe, assignments)
    plan = plan_sweep(pipeline, **tried, untrained=untrained_schedules, changes=changes)
    target = options.choose_folder(out, "sweep", model)
    with working_on(on), options.progress_bar() as report:
        scorer = scorer_of(pipeline, folder, recipe, report, data=data, features=features)
        found = run_sweep(scorer, plan, samples, target, model=model, progress=report)
    values = {
        "cells": [{**vars(made.cell), **made.figures, "num": made.num} for made in found],
        "notes": list(plan.notes),
    }
    finish_search(as_json, values, f"{len(found)} cells in {target}", target)


def tune(
    model: options.ModelName,
    out: Annotated[
        Path | None, typer.Option(help="Folder for measurements and report; RUN/tune or out/tune/MODEL by default.")
    ] = None,
    seconds_per_picture: Annotated[
        float, typer.Option(help="What a picture may take, sampled and decoded in batches of 32.")
    ] = 0.5,
    score: Annotated[
        str,
        typer.Option(help="balanced (least KID within a point of the best class accuracy), kid or accuracy."),
    ] = "balanced",
    num: Annotated[int, typer.Option(help="Pictures of each of the settings that come far, at most.")] = 256,
    minutes: Annotated[
        float, typer.Option(help="About how long all of it may take, the classifier's training aside.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the settings tried, of noise and of the choice of pictures.")] = 0,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Make a winner that is better the model's default.")
    ] = True,
    features: Features = "auto",
    data: options.DataFolder = None,
    assignments: options.Assignments = None,
    device: options.Device = "auto",
    on: options.On = "local",
    as_json: options.AsJson = False,
) -> None:
    """Find the best way to sample in the time that a picture may take, by measurement, and make it the default.

    Searches sampler, steps, guidance scale and interval, eta, spacing and shift; compares the winner with the model's
    default on fresh noise; and writes it into the model if it is better beyond noise. Run again on the same folder it
    goes on where it stopped. Writes OUT/report/report.html with the Pareto front of score over seconds.

    Examples: `synesthete tune runs/mine --seconds-per-picture 0.1`,
    `synesthete tune images-digits --no-write --out out/tune --minutes 5`
    """
    from synesthete.evaluation.search.measurements import SearchConfig
    from synesthete.evaluation.search.tune import check_config, check_writable, run_tune
    from synesthete.executors import working_on

    if any(assignment.startswith("sampling.") for assignment in assignments or ()):
        raise InputError("--set sampling...: sampling is what is searched here; leave it out")
    pipeline, folder, recipe, task = options.open_model(model, device, assignments)
    task.check_scorable(features)
    config = SearchConfig(score, seconds_per_picture, num, minutes, seed)  # type: ignore[arg-type]
    check_config(config, pipeline)
    if write:
        check_writable(folder)
    target = options.choose_folder(out, "tune", model)
    with working_on(on), options.progress_bar() as report:
        scorer = scorer_of(pipeline, folder, recipe, report, data=data, features=features)
        changed = folder if write else None
        found = run_tune(scorer, target, model=model, folder=changed, config=config, progress=report)
    values = found.to_dict()
    values.pop("measurements")
    finish_search(as_json, values, "\n".join([found.summary(), *values["findings"].values()]), target)


def finish_search(as_json: bool, values: dict[str, Any], text: str, target: Path) -> None:
    """The command's last words: what it found, and where its report lies."""
    from synesthete.evaluation.reporting.report import finite

    folder = target / "report"
    page = folder / "report.html"
    options.finish(as_json, finite({**values, "report": str(folder)}), f"{text}\n{page}", [page])
