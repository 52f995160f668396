"""`synesthete tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, ModelName, finish, progress_bar
from synesthete.types import InputError


def tune(
    model: ModelName,
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
        float, typer.Option(help="About how long all of it may take, the judge's training aside.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the settings tried, of noise and of the choice of pictures.")] = 0,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Make a winner that is better the model's default.")
    ] = True,
    features: Annotated[
        str, typer.Option(help="auto, classifier, inception, clip, or a network's folder: what KID is measured on.")
    ] = "auto",
    data: DataFolder = None,
    assignments: Assignments = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Find the best way to sample in the time that a picture may take, by measurement, and make it the default.

    Searches sampler, steps, guidance scale and interval, eta, spacing and shift; compares the winner with the model's
    default on fresh noise; and writes it into the model if it is better beyond noise. Run again on the same folder it
    goes on where it stopped. Writes OUT/report/report.html with the Pareto front of score over seconds.

    Examples: `synesthete tune runs/mine --seconds-per-picture 0.1`,
    `synesthete tune images-digits --no-write --out out/tune --minutes 5`
    """
    from synesthete import hub
    from synesthete.cli.evaluate import recipe_of
    from synesthete.evaluation.reporting.report import finite
    from synesthete.evaluation.search.model_settings import check_writable
    from synesthete.evaluation.search.scoring import Scorer
    from synesthete.evaluation.search.tune import check_config
    from synesthete.evaluation.search.tune import tune as tune_model
    from synesthete.evaluation.search.tuning import SearchConfig
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import task_of

    if any(assignment.startswith("sampling.") for assignment in assignments or ()):
        raise InputError("--set sampling...: sampling is what is searched here; leave it out")
    pipeline, folder = Pipeline.load(model, device), hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments or ())
    task = task_of(recipe)
    task.check_scorable(features)
    config = SearchConfig(score, seconds_per_picture, num, minutes, seed)  # type: ignore[arg-type]
    check_config(config, pipeline)
    if write:
        check_writable(folder)
    target = out or (Path(model) / "tune" if (Path(model) / "model").is_dir() else Path("out/tune") / Path(model).name)
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        prepared, saved = task.prepare(recipe, data, report), task.load_classifier(folder)
        basis = task.scoring_basis(pipeline, prepared, features=features, saved=saved, progress=report)
        scorer, changed = Scorer(pipeline, basis), folder if write else None
        found = tune_model(scorer, target, model=model, folder=changed, config=config, progress=report)
    page = target / "report" / "report.html"
    values = {**found.to_dict(), "report": str(page.parent)}
    values.pop("measurements")
    finish(as_json, finite(values), f"{found.summary()}\n{found.eta_says()}\n{found.guidance_says()}\n{page}")
