"""`synesthete cycle`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.evaluate import line, recipe_of
from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, finish, progress_bar
from synesthete.types import InputError


def cycle(
    speech: Annotated[str, typer.Argument(metavar="SPEECH", help="A model that speaks pictures.")],
    painter: Annotated[str, typer.Argument(metavar="PAINTER", help="A model that paints sounds.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder; out/cycle/SPEECH-PAINTER by default.")] = None,
    num: Annotated[int, typer.Option(help="Held-out pictures that go round.", min=10)] = 200,
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of pictures.")] = 0,
    assignments: Assignments = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go from picture to speech to picture, and count what comes back as what it was.

    Chance and real recordings in place of the speech stand beside it. The pictures are those that the painter's data
    hold out; --set changes its recipe. Both models must know the same classes, or some of them. Writes report.md,
    report.html (self-contained, with pictures and sound) and report.json.

    Example: `synesthete cycle image-to-speech-digits audio-to-image-digits --num 300`
    """
    from synesthete import hub
    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.saved import load_classifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier
    from synesthete.evaluation.reporting.report import check_place, finite
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import task_of
    from synesthete.tasks.cycle import evaluate_cycle, shared_classes

    target = out or Path("out/cycle") / f"{Path(speech).name}-{Path(painter).name}"
    check_place(target)
    if (target / "report.json").exists() and not overwrite:
        raise InputError(f"{target}: holds a report already; give --overwrite or another --out")
    speaks, paints = Pipeline.load(speech, device), Pipeline.load(painter, device)
    shared_classes(speaks, paints)
    folder = hub.find_model(painter)
    recipe = recipe_of(paints, folder, assignments or ())
    saved = load_classifier(folder, ImageClassifier)
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        found = evaluate_cycle(
            speaks,
            paints,
            task_of(recipe).prepare(recipe, data, report),
            target,
            models=(speech, painter),
            num=num,
            seed=seed,
            judge=saved.classifier if saved else None,
            listener=load_classifier(hub.find_model(speech), SpeechClassifier),
            progress=report,
        )
    values = {"metrics": [asdict(metric) for metric in found.metrics], **found.to_dict(), "report": str(target)}
    finish(as_json, finite(values), "\n".join(map(line, found.metrics)) + f"\n{target}/report.html")
