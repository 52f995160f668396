"""`synesthete evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.options import AsJson, Assignments, DataFolder, Device, ModelName, finish, progress_bar, say_skipped
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.config import Recipe
    from synesthete.evaluation.hearing.measures import HearingEvaluation
    from synesthete.evaluation.music.measures import MusicEvaluation
    from synesthete.evaluation.pictures.measures import PictureEvaluation
    from synesthete.evaluation.report import Metric
    from synesthete.evaluation.speech.measures import SpeechEvaluation
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
            "classifier (the judge); inception; clip; or a network's folder. Of sounds: auto (the judge); judge; "
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
    from synesthete import hub, preparation
    from synesthete.evaluation.report import check_place, finite
    from synesthete.pipeline import Pipeline

    target = out or (
        Path(model) / "report" if (Path(model) / "model").is_dir() else Path("out/report") / Path(model).name
    )
    check_place(target)
    if (target / "report.json").exists() and not overwrite:
        raise InputError(f"{target}: holds a report already; give --overwrite or another --out")
    pipeline = Pipeline.load(model, device)
    folder = hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments or ())
    kind = preparation.makes(recipe)
    if kind == "speech" and features != "auto":
        raise InputError(f"{model}: a model of speech; --features is for models of pictures and of music")
    if kind != "speech" and listener != "auto":
        raise InputError(f"{model}: a model of {kind}; --listener is for models of speech")
    if kind != "music" and recorded is not None:
        raise InputError(f"{model}: a model of {kind}; --recorded is for upsamplers of music")
    num = num or (100 if kind == "music" else 500)
    with progress_bar() as show:

        def report(what: str, done: int, total: int) -> None:
            show(what, done, total, "")

        options: dict[str, Any] = {"model": model, "num": num, "seed": seed, "progress": report}
        found: SpeechEvaluation | PictureEvaluation | MusicEvaluation | HearingEvaluation
        if kind == "speech":
            found = evaluate_speech(pipeline, recipe, folder, data, target, listener, options)
        else:
            options |= {"features": features, **({"recorded": recorded} if kind == "music" else {})}
            found = evaluate_held_out(kind, pipeline, recipe, folder, data, target, options)
    values = {"metrics": [asdict(metric) for metric in found.metrics], **found.to_dict(), "report": str(target)}
    text = "\n".join(map(line, found.metrics)) + f"\n{target}/report.html"
    finish(as_json, finite(values), text + say_skipped(found.skipped))


def evaluate_speech(
    pipeline: Pipeline,
    recipe: Recipe,
    folder: Path,
    data: Path | None,
    target: Path,
    listener: str,
    options: dict[str, Any],
) -> SpeechEvaluation:
    """A model that speaks: its test pictures, and the voices that it never heard."""
    from synesthete import preparation
    from synesthete.evaluation.speech.evaluation import evaluate
    from synesthete.evaluation.speech.model_judge import read_judge

    own_judge = read_judge(folder)
    corpus = preparation.build_corpus(recipe, data, options["progress"])
    return evaluate(pipeline, recipe.data(), corpus, target, listener=listener, own_judge=own_judge, **options)


def evaluate_held_out(
    kind: str,
    pipeline: Pipeline,
    recipe: Recipe,
    folder: Path,
    data: Path | None,
    target: Path,
    options: dict[str, Any],
) -> PictureEvaluation | MusicEvaluation | HearingEvaluation:
    """A model that draws, plays or paints sounds, on what its data held out; of the last each stage's end as well."""
    from synesthete import preparation
    from synesthete.evaluation.hearing.evaluation import evaluate as evaluate_hearing
    from synesthete.evaluation.hearing.stages import find_stages
    from synesthete.evaluation.music.evaluation import evaluate as evaluate_music
    from synesthete.evaluation.music.kept_judge import read_sound_judge
    from synesthete.evaluation.pictures.evaluation import evaluate as evaluate_pictures
    from synesthete.evaluation.pictures.kept_judge import read_picture_judge
    from synesthete.pipeline import Pipeline

    prepared = preparation.prepare(recipe, data, options["progress"])
    if kind == "music":
        return evaluate_music(pipeline, prepared, target, own_judge=read_sound_judge(folder), **options)
    options["own_judge"] = read_picture_judge(folder)
    if kind == "audio-to-image":
        kept = find_stages(Path(options["model"]), recipe)
        options["stages"] = {name: partial(Pipeline.load, str(place), pipeline.device) for name, place in kept.items()}
        return evaluate_hearing(pipeline, prepared, target, **options)
    return evaluate_pictures(pipeline, prepared, target, **options)


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
    return f"{metric.name:<52} {metric.value:8.4g}   " + "   ".join(
        f"{name} {value:.4g}" for name, value in beside.items() if value is not None
    )
