"""`synesthete diagnose` and `synesthete doctor`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete import hub
from synesthete.cli import options
from synesthete.config import Recipe
from synesthete.evaluation.diagnostics import DIAGNOSTICS
from synesthete.tasks.model import recipe_of
from synesthete.tasks.task import task_of

if TYPE_CHECKING:
    from synesthete.evaluation.diagnostics.embeddings import Embedding
    from synesthete.evaluation.doctor.check import Check
    from synesthete.evaluation.reporting.report import Report


def diagnose(
    model: options.ModelName,
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; RUN/diagnose or out/diagnose/MODEL by default.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Some of the diagnostics, with commas between: {', '.join(DIAGNOSTICS)}."),
    ] = None,
    num: Annotated[int, typer.Option(help="Samples and held-out pictures for figures.", min=4)] = 64,
    reconstruct_from: Annotated[
        float, typer.Option(help="Where on the way to noise a reconstruction starts.", min=0.01, max=0.99)
    ] = 0.6,
    data: options.DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of pictures.")] = 0,
    features: Annotated[
        str,
        typer.Option(
            help="What pictures are compared by: classifier (the classifier kept with the model, or one trained now), "
            "inception, clip, a network's folder, or none."
        ),
    ] = "classifier",
    assignments: options.Assignments = None,
    device: options.Device = "auto",
    on: options.On = "local",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """See what a model does: embeddings, the way from noise, classes on one noise, reconstructions, and more.

    Writes every picture as PNG or GIF, report.md, report.html (self-contained), report.json, and a folder for
    TensorBoard with the pictures and, in its projector, the condition embeddings.

    Examples: `synesthete diagnose runs/images-digits`,
    `synesthete diagnose runs/mine --only denoising,classes --seed 3 --set sampling.guidance_scale=4 --out out/mine`,
    `synesthete diagnose runs/mine --on ray`
    """
    from synesthete.evaluation.diagnostics.diagnosis import choose_features, chosen, run_diagnostics
    from synesthete.evaluation.diagnostics.embeddings import condition_embeddings
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.executors import working_on

    names = chosen(options.split_commas(only))
    target = options.choose_folder(out, "diagnose", model)
    options.check_report_folder(target, overwrite)
    pipeline, folder, recipe, task = options.open_model(model, device, assignments)
    settings = options.sampling_changes(recipe, assignments)
    pipeline.sampling_settings(**settings)
    with working_on(on), options.progress_bar() as report:
        prepared = task.prepare(recipe, data, report)
        seen_by = choose_features(features, names, prepared, folder, report)
        how: dict[str, Any] = {"reconstruct_from": reconstruct_from, "settings": settings, "features": seen_by}
        under_test = ModelUnderTest(pipeline, prepared, seed, num, **how, task=task)
        embeddings = condition_embeddings(under_test) if pipeline.is_conditional else []

        def more(found: Report, folder: Path) -> None:
            write_tensorboard(found, embeddings, folder / "tensorboard")

        found = run_diagnostics(under_test, target, name=model, only=names if only else (), progress=report, more=more)
    values = {"report": str(target), **found.data, "pictures": sorted(map(str, target.glob("pictures/*")))}
    lines = [f"{name}: left out; {reason}" for name, reason in found.data["left_out"].items()]
    page = f"{target}/report.html"
    options.finish(as_json, values, "\n".join([*lines, page]), [page])


def write_tensorboard(report: Report, embeddings: Sequence[Embedding], folder: Path) -> None:
    """The report's pictures, and embeddings in the projector, where TensorBoard finds them."""
    from PIL import Image

    from synesthete.evaluation.reporting.report import media
    from synesthete.training.run_log import EventFile

    events = EventFile(folder, 0)
    for medium in media(report):
        if medium.kind == "png":
            events.picture(medium.name, Image.open(io.BytesIO(medium.content), formats=["PNG"]), 0)
    for found in embeddings:
        events.embedding(found.name, found.vectors, found.metadata())
    events.close()


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
    data: options.DataFolder = None,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Look at held-out data too, made where they are missing; so does --data."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Check a run, a model or the installation: a verdict, the figure it rests on, and what to do about it.

    Of a run: progress and time to the end, checkpoints, disk, loss, spikes and returns. Of a model: weights, the values
    of its samples, silence, condition. Exit code 1 if anything is bad.

    Examples: `synesthete doctor`, `synesthete doctor runs/mine --json`, `synesthete doctor image-to-speech-digits`,
    `synesthete doctor runs/mine --prepare --out out/doctor`
    """
    from synesthete.evaluation.doctor.check import examine_installation, worst
    from synesthete.evaluation.doctor.doctor import write_checks
    from synesthete.evaluation.reporting.report import check_place, finite

    if out:
        check_place(out)
    checks = of_model(model, out, num, data, prepare, seed, device) if model else examine_installation()
    if out and not model:
        write_checks("Doctor: installation", checks, out)
    verdict = worst(checks)
    values: dict[str, Any] = {"verdict": verdict, "checks": list(map(vars, checks))}
    lines = [*map(str, checks), *([f"{out}/report.html"] if out else [])]
    options.finish(as_json, finite(values | ({"report": str(out)} if out else {})), "\n".join(lines), map(str, checks))
    if verdict == "bad":
        raise typer.Exit(1)


def of_model(
    model: str, out: Path | None, num: int, data: Path | None, prepare: bool, seed: int, device: str
) -> list[Check]:
    """The checks of a run, of a model, or of a run and its model."""
    from synesthete.evaluation.doctor.doctor import examine
    from synesthete.evaluation.doctor.run import read_run
    from synesthete.pipeline import Pipeline
    from synesthete.training.assembly import denoises

    folder = Path(model).expanduser()
    is_run = (folder / "recipe.yaml").is_file() and not (folder / hub.MODEL_INDEX).is_file()
    run = read_run(folder) if is_run else None
    if run and not (folder / "model").is_dir():
        return examine(run, None, out, name=model)
    pipeline, place = Pipeline.load(model, device), hub.find_model(model)
    task = task_of(pipeline)
    # Where only a codec was trained, the denoiser stands in.
    if (place / "recipe.yaml").is_file() and not any(map(denoises, Recipe.load(place / "recipe.yaml").stages)):
        num = 0
    with options.progress_bar() as report:
        prepared = task.prepare(recipe_of(pipeline, place), data, report) if prepare or data else None
        return examine(
            run, pipeline, out, name=model, prepared=prepared, task=task, num=num, seed=seed, progress=report
        )
