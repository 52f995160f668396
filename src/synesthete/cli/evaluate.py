"""`synesthete evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, ModelName, finish, progress_bar, say_skipped
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.config import Recipe
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.pipeline import Pipeline


def evaluate(
    model: ModelName,
    out: Annotated[
        Path | None, typer.Option(help="The report's folder; RUN/report or out/report/MODEL by default.")
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            help="Held-out pictures to speak, or pictures or sounds to make, or to paint for each split of sounds; "
            "500, or 100 sounds.",
            min=10,
        ),
    ] = None,
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of real samples.")] = 0,
    listener: Annotated[
        str,
        typer.Option(
            help="auto: pocketsphinx, and Whisper if it is on this machine; pocketsphinx; none; or a Whisper's folder "
            "or Hub id, which is downloaded."
        ),
    ] = "auto",
    features: Annotated[
        str,
        typer.Option(
            help="What sets of pictures are compared by: auto: Inception if it is on this machine, else the judge; "
            "classifier (the judge); inception; clip; or a network's folder. Of sounds: auto (the judge); classifier; "
            "spectrum; clap; or a CLAP's folder."
        ),
    ] = "auto",
    recorded: Annotated[
        Path | None, typer.Option(help="For an upsampler: a folder of sound recorded at the low rate that it reads.")
    ] = None,
    assignments: Assignments = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a model on what it never met: every figure beside chance, shuffled conditions and ceiling.

    A model that speaks is shown held-out pictures and judged by voices it never heard; one that draws is judged by a
    classifier and compared with held-out pictures; one that plays by a classifier, its bands, rhythm and pitch beside
    held-out recordings; one that paints sounds by what its pictures of sounds and speakers that it never heard show,
    by what sound and text are worth to it, and stage by stage where its run keeps RUN/after-STAGE. Writes report.md,
    report.html (self-contained, with pictures and sound) and report.json.

    Examples: `synesthete evaluate runs/image-to-speech-digits`,
    `synesthete evaluate image-to-speech-digits --num 1000 --set data.sources.mnist.path=mnist --out out/report`,
    `synesthete evaluate runs/mine --listener weights/whisper-base`,
    `synesthete evaluate runs/images-digits --num 1000 --features classifier`,
    `synesthete evaluate runs/audio-to-image-digits --num 300`
    """
    from synesthete import hub
    from synesthete.evaluation.reporting.report import check_place, finite
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import EvaluationRequest, task_of

    target = out or (
        Path(model) / "report" if (Path(model) / "model").is_dir() else Path("out/report") / Path(model).name
    )
    check_place(target)
    if (target / "report.json").exists() and not overwrite:
        raise InputError(f"{target}: holds a report already; give --overwrite or another --out")
    pipeline = Pipeline.load(model, device)
    folder = hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments or ())
    task = task_of(recipe)
    given: dict[str, Any] = {"listener": listener, "features": features, "recorded": recorded}
    for option, value in given.items():
        if value not in (None, "auto") and option not in task.evaluation_options:
            raise InputError(f"{model}: a model of {task.makes}, which has no --{option}; leave it out")
    options = {option: given[option] for option in task.evaluation_options if option in given}
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        request = EvaluationRequest(target, model, folder, data, num, seed, options)
        found = task.evaluate(pipeline, recipe, request, report)
    values = {"metrics": [asdict(metric) for metric in found.metrics], **found.to_dict(), "report": str(target)}
    text = "\n".join(map(line, found.metrics)) + f"\n{target}/report.html"
    finish(as_json, finite(values), text + say_skipped(found.skipped))


def recipe_of(pipeline: Pipeline, folder: Path, assignments: Sequence[str]) -> Recipe:
    """The recipe a model was made by: beside it, or the one of the package that its card names."""
    from synesthete.recipes import RECIPES, find_recipe

    named = str(pipeline.config.card.get("recipe"))
    if not (folder / "recipe.yaml").is_file() and named not in RECIPES:
        raise InputError(f"{folder}: no recipe.yaml in it, so its data are unknown; copy the one of its run there")
    return find_recipe(str(folder) if (folder / "recipe.yaml").is_file() else named, assignments)


def line(metric: Metric) -> str:
    """A figure and what it is to be read against."""
    beside = {"chance": metric.chance, "shuffled": metric.shuffled, "ceiling": metric.ceiling}
    return f"{metric.title:<52} {metric.value:8.4g}   " + "   ".join(
        f"{name} {value:.4g}" for name, value in beside.items() if value is not None
    )
