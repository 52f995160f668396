"""`synesthete train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synesthete.cli.options import AsJson, Assignments, DataFolder, RecipeName, finish, progress_bar, say_skipped
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.preparation import Prepared, Progress


def train(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    data: DataFolder = None,
    stages: Annotated[
        str | None, typer.Option(metavar="NAME,NAME...", help="Train these stages of the recipe alone.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="MODEL or adapters whose weights to begin with.")] = None,
    judge: Annotated[
        bool,
        typer.Option(help="At the end, train the judge that tells what a sample says or shows."),
    ] = True,
    watch: Annotated[
        bool, typer.Option(help="Look through the instruments of `synesthete diagnose` at each preview.")
    ] = True,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe. Killed at any moment, the same command goes on from the last checkpoint, to the bit.

    Examples: `synesthete train image-to-speech-digits`,
    `synesthete train image-to-speech-digits --set data.limit=512 --out runs/overfit`,
    `synesthete train audio-to-image-digits --stages lora,gates --from MODEL --out runs/again`,
    `synesthete train image-to-speech-photos --set data.folder=my_pictures --from MODEL`,
    `torchrun --standalone --nproc_per_node 2 -m synesthete train image-to-speech-digits`
    """
    from synesthete import hub, preparation
    from synesthete.evaluation import watching
    from synesthete.evaluation.speech import model_judge
    from synesthete.pipeline.adapted import find_adapters
    from synesthete.recipes import find_recipe
    from synesthete.training import loop
    from synesthete.training.reports import DivergedError, StepReport
    from synesthete.training.run_folder import alone_in, open_run, processes

    found = find_recipe(recipe, assignments or ())
    if stages is not None:
        found.keep_stages([name.strip() for name in stages.split(",") if name.strip()])
    folder = out or Path("runs") / found.name
    begin = (find_adapters(start) or hub.find_model(start)) if start else None
    state = processes()
    notes: list[str] = []
    with alone_in(folder), progress_bar() as show:
        open_run(found, folder)
        with state.main_process_first():
            report = (lambda what, done, total: show(what, done, total, "")) if state.is_main_process else None
            prepared = preparation.prepare(found, data, report)

        def on_step(report: StepReport) -> None:
            notes.extend(report.notes)
            loss = "" if report.loss is None else f"loss {report.loss:.4f}"
            show(f"stage {report.stage}", report.step, report.num_steps, loss)
            for note in report.notes:
                show(f"step {report.step}: {note}", 0, 0, "")

        try:
            look = watching.watch if watch else None
            model = loop.train(found, prepared, folder, report=on_step, start=begin, watch=look)
            wanted = judge and state.is_main_process and not (model / model_judge.FOLDER).is_dir()
            if wanted and (note := keep_judge(found, prepared, data, model, report)):  # the model is whole without it
                notes.append(note)
                show(note, 0, 0, "")
        except DivergedError as error:
            raise InputError(str(error)) from None
        except KeyboardInterrupt:
            show(f"stopped; the same command goes on from the last checkpoint in {folder}", 0, 0, "")
            raise typer.Exit(130) from None
    if state.is_main_process:
        values = {
            "run": str(folder),
            "model": str(model),
            "skipped": list(prepared.skipped),
            "num_skipped": len(prepared.skipped),
            "notes": [*prepared.notes, *notes],
        }
        text = f"{model}: done; try `synesthete evaluate {folder}`"
        finish(as_json, values, text + say_skipped(prepared.skipped))


def keep_judge(recipe: Recipe, prepared: Prepared, data: Path | None, model: Path, progress: Progress | None) -> str:
    """Train the judge of the model's kind and put it beside the model; what hindered it, or nothing."""
    from synesthete import preparation
    from synesthete.evaluation.music import judge as sound_judge
    from synesthete.evaluation.music import kept_judge as kept_sound_judge
    from synesthete.evaluation.pictures import judge as picture_judge
    from synesthete.evaluation.pictures import kept_judge as kept_picture_judge
    from synesthete.evaluation.speech import model_judge

    # A twin that trains for seconds gets a judge that does.
    steps = sum(stage.num_steps for stage in recipe.stages)
    kind = preparation.makes(recipe)
    speech = preparation.build_corpus(recipe, data) if kind == "speech" else None
    try:
        if speech:
            spec, steps = recipe.codec().spec, min(model_judge.NUM_STEPS, steps)
            model_judge.keep_judge(recipe.data(), speech, model, spec, num_steps=steps, progress=progress)
        elif kind == "music":
            few, rate = steps if steps < sound_judge.FEWEST_STEPS else None, recipe.codec().spec.sample_rate
            kept_sound_judge.keep_sound_judge(prepared, model, rate, num_steps=few, progress=progress)
        else:
            few = steps if steps < picture_judge.FEWEST_STEPS else None
            kept_picture_judge.keep_picture_judge(prepared, model, num_steps=few, progress=progress)
    except InputError as error:
        return f"no judge with the model: {error}"
    return ""
