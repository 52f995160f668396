"""`synesthete doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.options import AsJson, DataFolder, Device, finish, progress_bar

if TYPE_CHECKING:
    from synesthete.evaluation.doctor.check import Check


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_OR_MODEL]",
            help="A run folder (finished, interrupted or in training), a model folder, a Hub id, or the name of a "
            "shipped model. The installation where there is none.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a report with pictures there.")] = None,
    num: Annotated[int, typer.Option(help="Samples to look at.", min=1)] = 4,
    data: DataFolder = None,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Look at held-out data too, made where they are missing; so does --data."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Check a run, a model or the installation: a verdict, the figure it rests on, and what to do about it.

    Of a run: progress and time to the end, checkpoints, disk, loss, spikes and returns. Of a model: weights, the values
    of its samples, silence, condition. Exit code 1 if anything is bad.

    Examples: `synesthete doctor`, `synesthete doctor runs/mine --json`, `synesthete doctor image-to-speech-digits`,
    `synesthete doctor runs/mine --prepare --out out/doctor`
    """
    from synesthete.evaluation.doctor.check import worst
    from synesthete.evaluation.reporting.report import check_place, finite

    if out:
        check_place(out)
    checks = of_model(model, out, num, data, prepare, seed, device) if model else of_installation(out)
    verdict = worst(checks)
    values: dict[str, Any] = {"verdict": verdict, "checks": [check.to_dict() for check in checks]}
    lines = [*map(str, checks), *([f"{out}/report.html"] if out else [])]
    finish(as_json, finite(values | ({"report": str(out)} if out else {})), "\n".join(lines))
    if verdict == "bad":
        raise typer.Exit(1)


def of_installation(out: Path | None) -> list[Check]:
    """The checks of the machine and what is installed on it."""
    from synesthete.evaluation.doctor.check import table
    from synesthete.evaluation.doctor.installation import examine_installation
    from synesthete.evaluation.reporting.report import Report, Section, write_report

    checks = examine_installation()
    if out:
        data = {"checks": [check.to_dict() for check in checks]}
        write_report(Report("Doctor: installation", sections=[Section("Checks", "", [table(checks)])], data=data), out)
    return checks


def of_model(
    model: str, out: Path | None, num: int, data: Path | None, prepare: bool, seed: int, device: str
) -> list[Check]:
    """The checks of a run, of a model, or of a run and its model."""
    from synesthete import hub
    from synesthete.cli.evaluate import recipe_of
    from synesthete.config import Recipe
    from synesthete.evaluation.doctor.doctor import examine
    from synesthete.evaluation.doctor.record import read_run
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import task_of
    from synesthete.training.models import denoises

    folder = Path(model).expanduser()
    is_run = (folder / "recipe.yaml").is_file() and not (folder / hub.MODEL_INDEX).is_file()
    run = read_run(folder) if is_run else None
    pipeline = None if run and not (folder / "model").is_dir() else Pipeline.load(model, device)
    recipe = hub.find_model(model) / "recipe.yaml" if pipeline else None
    # Where only a codec was trained, the denoiser stands in.
    if recipe and recipe.is_file() and not any(map(denoises, Recipe.load(recipe).stages)):
        num = 0
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        prepared, task = None, task_of(pipeline) if pipeline else None
        if pipeline and task and (prepare or data):
            prepared = task.prepare(recipe_of(pipeline, hub.find_model(model), ()), data, report)
        return examine(
            run, pipeline, out, name=model, prepared=prepared, task=task, num=num, seed=seed, progress=report
        )
