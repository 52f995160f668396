"""`synesthete evaluate`, `synesthete cycle` and `synesthete compare`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete import hub
from synesthete.cli import options
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.evaluation.metrics.metric import Metric


def evaluate(
    model: options.ModelName,
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
    data: options.DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of real samples.")] = 0,
    listener: Annotated[
        str,
        typer.Option(
            help="auto: pocketsphinx, and Whisper if it is on this machine; pocketsphinx; none; or a Whisper's folder "
            "or Hub id, which is downloaded. Of scores that are played: a path to basic-pitch, which hears notes, too."
        ),
    ] = "auto",
    features: Annotated[
        str,
        typer.Option(
            help="What sets of pictures are compared by: auto: Inception if it is here, else the classifier; "
            "classifier; inception; clip; or a network's folder. Of sounds: auto (the classifier); classifier; "
            "spectrum; clap; or a CLAP's folder."
        ),
    ] = "auto",
    recorded: Annotated[
        Path | None, typer.Option(help="For an upsampler: a folder of sound recorded at the low rate that it reads.")
    ] = None,
    assignments: options.Assignments = None,
    device: options.Device = "auto",
    on: options.On = "local",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate a model on what it never met: every figure beside chance, shuffled conditions and ceiling.

    A model that speaks is shown held-out pictures and evaluated by voices it never heard; one that draws is evaluated
    by a classifier and compared with held-out pictures; one that plays by a classifier, its bands, rhythm and pitch
    beside held-out recordings, or, told scores, by the notes that are heard; one that paints sounds by what its
    pictures of sounds and speakers that it never heard show, by what sound and text are worth to it, and stage by stage
    where its run keeps RUN/after-STAGE. Writes report.md, report.html (self-contained, with pictures and sound) and
    report.json, and the figures into the README.md of a model in a folder.

    Examples: `synesthete evaluate runs/image-to-speech-digits`,
    `synesthete evaluate image-to-speech-digits --num 1000 --set data.sources.mnist.path=mnist --out out/report`,
    `synesthete evaluate runs/mine --listener weights/whisper-base`,
    `synesthete evaluate runs/images-digits --num 1000 --features classifier`,
    `synesthete evaluate runs/audio-to-image-digits --num 300`
    """
    from synesthete.executors import working_on

    target = options.choose_folder(out, "report", model)
    options.check_report_folder(target, overwrite)
    pipeline, folder, recipe, task = options.open_model(model, device, assignments)
    given: dict[str, Any] = {"listener": listener, "features": features, "recorded": recorded}
    for option, value in given.items():
        if value not in (None, "auto") and option not in task.evaluation_options:
            raise InputError(f"{model}: a model of {task.makes}, which has no --{option}; leave it out")
    chosen = {option: given[option] for option in task.evaluation_options if option in given}
    chosen |= {"data": data, "num": num, "seed": seed}
    with working_on(on), options.progress_bar() as report:
        found = task.evaluate(pipeline, recipe, target, model=model, folder=folder, progress=report, **chosen)
    if Path(model).is_dir():  # one of one's own: neither shipped nor the Hub's
        from synesthete.evaluation.reporting.report import figures_text
        from synesthete.pipeline.model_card import ModelCard, write_card

        with suppress(InputError):  # a folder that may only be read
            write_card(folder, ModelCard(figures=figures_text(found)))
    print_report(found, target, as_json)


def cycle(
    speech: Annotated[
        str, typer.Argument(metavar="SPEECH", help="A model that speaks pictures.", autocompletion=options.models)
    ],
    painter: Annotated[
        str, typer.Argument(metavar="PAINTER", help="A model that paints sounds.", autocompletion=options.models)
    ],
    out: Annotated[Path | None, typer.Option(help="The report's folder; out/cycle/SPEECH-PAINTER by default.")] = None,
    num: Annotated[int, typer.Option(help="Held-out pictures that go round.", min=10)] = 200,
    data: options.DataFolder = None,
    seed: Annotated[int, typer.Option(help="Of noise and of the choice of pictures.")] = 0,
    assignments: options.Assignments = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Go from picture to speech to picture, and count what comes back as what it was.

    Chance and real recordings in place of the speech stand beside it. The pictures are those that the painter's data
    hold out; --set changes its recipe. Both models must know the same classes, or some of them. Writes report.md,
    report.html (self-contained, with pictures and sound) and report.json.

    Example: `synesthete cycle image-to-speech-digits audio-to-image-digits --num 300`
    """
    from synesthete.evaluation.classifiers.classifier import load_classifier
    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier
    from synesthete.pipeline import Pipeline
    from synesthete.tasks.cycle import evaluate_cycle, shared_classes

    target = out or Path("out/cycle") / f"{Path(speech).name}-{Path(painter).name}"
    options.check_report_folder(target, overwrite)
    speaks = Pipeline.load(speech, device)
    paints, folder, recipe, task = options.open_model(painter, device, assignments)
    shared_classes(speaks, paints)
    saved = load_classifier(folder, ImageClassifier)
    with options.progress_bar() as report:
        listener = load_classifier(hub.find_model(speech), SpeechClassifier)
        given: dict[str, Any] = {"classifier": saved.classifier if saved else None, "listener": listener}
        given |= {"models": (speech, painter), "num": num, "seed": seed, "progress": report}
        found = evaluate_cycle(speaks, paints, task.prepare(recipe, data, report), target, **given)
    print_report(found, target, as_json)


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Runs or models that were evaluated, report folders or report.json.",
            autocompletion=options.models,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("out/compare"),
    as_json: options.AsJson = False,
) -> None:
    """Compare reports metric by metric: differences from the first one, with 95% intervals, and a picture.

    Metrics are joined by key, also where the numbers of samples differ. A report there already is replaced.

    Examples: `synesthete compare runs/mine runs/other`,
    `synesthete compare out/report/images-digits runs/mine/report runs/other/report/report.json --out out/compare`
    """
    from synesthete.evaluation.compare import comparison_report, read_report
    from synesthete.evaluation.reporting.report import check_place, finite, write_report

    report = comparison_report([read_report(run) for run in runs])
    check_place(out)
    page = write_report(report, out)
    table = report.sections[0].items[0]
    lines = [f"{row[0]:<60.60} " + "   ".join(str(cell) for cell in row[2:-2]) for row in table.rows]  # type: ignore[union-attr]
    text = "\n".join([*lines, "", report.summary, str(page)])
    options.finish(as_json, finite({**report.data, "report": str(out)}), text, lines)


def print_report(found: Any, target: Path, as_json: bool) -> None:
    """Every figure, and where the report is."""
    from synesthete.evaluation.reporting.report import finite

    values = {"metrics": [asdict(metric) for metric in found.metrics], **found.data, "report": str(target)}
    lines, skipped = list(map(line, found.metrics)), options.say_skipped(found.data.get("skipped", ()))
    options.finish(as_json, finite(values), "\n".join([*lines, f"{target}/report.html"]) + skipped, lines)


def line(metric: Metric) -> str:
    """A figure and what it is to be read against."""
    beside = {"chance": metric.chance, "shuffled": metric.shuffled, "ceiling": metric.ceiling}
    return f"{metric.title:<52} {metric.value:8.4g}   " + "   ".join(
        f"{name} {value:.4g}" for name, value in beside.items() if value is not None
    )
