"""`synesthete train`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli import options
from synesthete.config import Recipe
from synesthete.tasks.sampling import split_commas
from synesthete.tasks.task import model_folder, prepare, task_of
from synesthete.types import InputError


def train(
    recipe: options.RecipeName,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    data: options.DataFolder = None,
    stages: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME...", help="Train these stages of the recipe alone; `fast` teaches a model few steps."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="MODEL or adapters whose weights to begin with.", autocompletion=options.models),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME...", help="Begin with these parts of MODEL alone: conditioner, denoiser."),
    ] = None,
    classifier: Annotated[
        bool, typer.Option(help="At the end, train the classifier that tells what a sample says or shows.")
    ] = True,
    watch: Annotated[
        bool, typer.Option(help="Look through the diagnostics of `synesthete diagnose` at each preview.")
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="A step of every stage at full size, on made-up data, without a download: does it fit?"
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what a dry run writes, beside --out.")] = False,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,NAME...",
            help="Tell wandb, mlflow, trackio, aim, comet_ml, clearml, dvclive or swanlab what metrics.jsonl is told.",
        ),
    ] = None,
    assignments: options.Assignments = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a recipe. Killed at any moment, the same command goes on from the last checkpoint, to the bit.

    Examples: `synesthete train image-to-speech-digits`,
    `synesthete train image-to-speech-digits --set data.limit=512 --out runs/overfit`,
    `synesthete train audio-to-image --dry-run`,
    `synesthete train audio-to-image-digits --stages lora,gates --from MODEL --out runs/again`,
    `synesthete train images-digits --stages fast --from images-digits --out runs/fast`,
    `synesthete train image-to-speech-photos --set data.folder=my_pictures --from MODEL`,
    `synesthete train image-to-speech-100 --set data.folder=my_pictures --from image-to-speech-digits --parts denoiser`,
    `torchrun --standalone --nproc_per_node 2 -m synesthete train image-to-speech-digits`
    """
    from synesthete.recipes import find_recipe

    found = find_recipe(recipe, assignments or (), None if stages is None else split_commas([stages]))
    if dry_run:
        if start is not None:
            raise InputError("--dry-run begins with weights of its own; leave --from out")
        run_dry(found, out or Path("runs") / found.name, data, keep=keep, as_json=as_json)
        return
    # A wrong name is said before all of this is imported.
    from synesthete.training import loop
    from synesthete.training.run_folder import alone_in, open_run, processes
    from synesthete.training.run_log import DivergedError, StepReport, check_trackers

    check_trackers(trackers := split_commas(tracker))
    look = None
    if watch:
        from synesthete.evaluation.diagnostics.diagnosis import show_diagnostics

        look = show_diagnostics
    task, folder = task_of(found), out or Path("runs") / found.name
    begin = model_folder(start) if start else None
    if parts is not None and begin is None:
        raise InputError("--parts without --from: of which model? add --from MODEL")
    names = None if parts is None else tuple(split_commas([parts]))
    state = processes()
    notes: list[str] = []
    with alone_in(folder), options.progress_bar() as show:
        open_run(found, folder)
        with state.main_process_first():
            report = show if state.is_main_process else None
            prepared = task.prepare(found, data, report)

        def on_step(report: StepReport) -> None:
            notes.extend(report.notes)
            loss = "" if report.loss is None else f"loss {report.loss:.4f}"
            show(f"stage {report.stage}", report.step, report.num_steps, loss)
            for note in report.notes:
                show(f"step {report.step}: {note}", 0, 0)

        try:
            how: dict[str, Any] = {"start": begin, "start_parts": names, "watch": look, "trackers": trackers}
            model = loop.train_recipe(found, prepared, folder, report=on_step, **how)
            wanted = classifier and state.is_main_process
            try:
                if wanted:
                    task.train_classifier(found, prepared, model, data=data, progress=report)
            except InputError as error:  # the model is whole without it
                notes.append(f"no classifier with the model: {error}")
                show(notes[-1], 0, 0)
        except DivergedError as error:
            raise InputError(str(error)) from None
    if state.is_main_process:
        values = {"run": str(folder), "model": str(model), **options.skipped_values(prepared, notes)}
        text = f"{model}: done; try `synesthete evaluate {folder}`"
        options.finish(as_json, values, text + options.say_skipped(prepared.skipped), [model])


def run_dry(recipe: Recipe, out: Path, data: Path | None, *, keep: bool, as_json: bool) -> None:
    """Say what training the recipe takes on this machine."""
    from synesthete.training.dry_run_report import describe_report, dry_run_recipe, report_values

    folder = out.parent / f"{out.name}-dry-run"
    if folder.exists():
        raise InputError(f"{folder}: there already, kept or cut short; remove it, or give another --out")
    given = None if data is None else partial(prepare, folder=data)
    try:
        with options.progress_bar() as show:
            found = dry_run_recipe(
                recipe, task_of(recipe).dummy_batch, folder, prepare=given, report=lambda said: show(said, 0, 0)
            )
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    options.finish(as_json, report_values(found), describe_report(found))
    if found.problems:
        raise InputError("; ".join(found.problems))
