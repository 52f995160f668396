"""`synesthete diagnose`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete.cli.lists import listed
from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, ModelName, finish, progress_bar
from synesthete.evaluation.diagnostics import DIAGNOSTICS
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.diagnostics.embeddings import Embedding
    from synesthete.evaluation.reporting.report import Report


def diagnose(
    model: ModelName,
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
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of pictures.")] = 0,
    features: Annotated[
        str,
        typer.Option(
            help="What pictures are compared by: classifier (the judge kept with the model, or one trained now), "
            "inception, clip, a network's folder, or none."
        ),
    ] = "classifier",
    assignments: Assignments = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """See what a model does: embeddings, the way from noise, classes on one noise, reconstructions, and more.

    Writes every picture as PNG or GIF, report.md, report.html (self-contained), report.json, and a folder for
    TensorBoard with the pictures and, in its projector, the condition embeddings.

    Examples: `synesthete diagnose runs/images-digits`,
    `synesthete diagnose runs/mine --only denoising,classes --seed 3 --set sampling.guidance_scale=4 --out out/mine`
    """
    from synesthete import hub
    from synesthete.cli.evaluate import recipe_of
    from synesthete.evaluation.diagnostics.diagnosis import choose_features, chosen
    from synesthete.evaluation.diagnostics.diagnosis import diagnose as diagnose_model
    from synesthete.evaluation.diagnostics.embeddings import condition_embeddings
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.evaluation.reporting.report import check_place
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import task_of

    names = chosen(listed(only))
    place = Path("out/diagnose") / Path(model).name
    target = out or (Path(model) / "diagnose" if (Path(model) / "model").is_dir() else place)
    check_place(target)
    if (target / "report.json").exists() and not overwrite:
        raise InputError(f"{target}: holds a report already; give --overwrite or another --out")
    keys = [text.partition("=")[0] for text in assignments or ()]
    changed = [key.removeprefix("sampling.") for key in keys if key.startswith("sampling.")]
    pipeline, folder = Pipeline.load(model, device), hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments or ())
    settings = {name: getattr(recipe.sampling, name) for name in changed}
    pipeline.sampling_settings(**settings)
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        task = task_of(recipe)
        prepared = task.prepare(recipe, data, report)
        found = diagnose_model(
            pipeline,
            prepared,
            target,
            model=model,
            only=names if only else (),
            seed=seed,
            num=num,
            reconstruct_from=reconstruct_from,
            settings=settings,
            features=choose_features(features, names, prepared, folder, report),
            task=task,
            progress=report,
        )
    shown = condition_embeddings(ModelUnderTest(pipeline, prepared, seed, num)) if pipeline.is_conditional else []
    write_tensorboard(found, shown, target / "tensorboard")
    left_out = found.data["left_out"]
    values = {
        "report": str(target),
        "diagnostics": found.data["diagnostics"],
        "left_out": left_out,
        "pictures": sorted(map(str, target.glob("pictures/*"))),
    }
    lines = [f"{name}: left out; {reason}" for name, reason in left_out.items()]
    finish(as_json, values, "\n".join([*lines, f"{target}/report.html"]))


def write_tensorboard(report: Report, embeddings: Sequence[Embedding], folder: Path) -> None:
    """The report's pictures, and embeddings in the projector, where TensorBoard finds them."""
    from PIL import Image

    from synesthete.evaluation.reporting.report import media
    from synesthete.training.run_log import open_event_file, write_embedding

    events = open_event_file(folder, 0)
    if events is None:
        return
    for medium in media(report):
        if medium.kind == "png":
            events.picture(medium.name, Image.open(io.BytesIO(medium.content)), 0)
    events.close()
    for found in embeddings:
        write_embedding(folder, found.name, found.vectors, found.metadata())
