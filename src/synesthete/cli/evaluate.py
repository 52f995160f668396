"""`synesthete evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete.cli.options import AsJson, Assignments, ModelName, finish, progress_bar

if TYPE_CHECKING:
    from synesthete.evaluation.report import Metric


def evaluate(
    model: ModelName,
    out: Annotated[Path | None, typer.Option(help="The report's folder; RUN/report or out/report by default.")] = None,
    num: Annotated[int, typer.Option(help="Held-out pictures to judge.", min=10)] = 500,
    data: Annotated[Path | None, typer.Option(help="Where `prepare --out` put the data; the cache by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of pictures.")] = 0,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Judge a model on pictures and voices it never met: every figure beside chance, shuffled conditions and ceiling.

    Writes report.md, report.html (self-contained, with pictures and sound) and report.json.

    Examples: `synesthete evaluate runs/image-to-speech-digits`,
    `synesthete evaluate image-to-speech-digits --num 1000 --set data.sources.mnist.path=mnist --out out/report`
    """
    from synesthete import hub, preparation
    from synesthete.evaluation.speech import evaluate as evaluate_speech
    from synesthete.pipeline import Pipeline
    from synesthete.recipes import find_recipe

    pipeline = Pipeline.load(model)
    recipe = find_recipe(str(hub.find_model(model)), assignments or ())
    target = out or (Path(model) / "report" if (Path(model) / "recipe.yaml").is_file() else Path("out/report"))
    with progress_bar() as show:
        report = partial(show, extra="")
        corpus = preparation.build_corpus(recipe, data, report)
        found = evaluate_speech(
            pipeline, recipe.data(), corpus, target, model=model, num=num, seed=seed, progress=report
        )
    values = {"metrics": [asdict(metric) for metric in found.metrics], **found.to_dict(), "report": str(target)}
    finish(as_json, values, "\n".join(map(line, found.metrics)) + f"\n{target}/report.html")


def line(metric: Metric) -> str:
    """A figure and what it is to be read against."""
    beside = {"chance": metric.chance, "shuffled": metric.shuffled, "ceiling": metric.ceiling}
    return f"{metric.name:<52} {metric.value:8.4g}   " + "   ".join(
        f"{name} {value:.4g}" for name, value in beside.items() if value is not None
    )
