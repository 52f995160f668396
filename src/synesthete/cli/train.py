"""`synesthete train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.options import AsJson, Assignments, RecipeName, finish, progress_bar
from synesthete.types import InputError


def train(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where `prepare --out` put the data; the cache by default.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="MODEL whose weights to begin with.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe. Killed at any moment, the same command goes on from the last checkpoint, to the bit.

    Examples: `synesthete train image-to-speech-digits`,
    `synesthete train image-to-speech-digits --set data.limit=512 --out runs/overfit`,
    `accelerate launch --multi_gpu --num_processes 2 -m synesthete train image-to-speech-digits`
    """
    from synesthete import hub, preparation
    from synesthete.recipes import find_recipe
    from synesthete.training import loop
    from synesthete.training.run_folder import open_run, processes
    from synesthete.training.stage import DivergedError, StepReport

    found = find_recipe(recipe, assignments or ())
    folder = out or Path("runs") / found.name
    begin = hub.find_model(start) if start else None
    open_run(found, folder)
    state = processes()
    notes: list[str] = []
    with progress_bar() as show:
        with state.main_process_first():
            report = (lambda what, done, total: show(what, done, total, "")) if state.is_main_process else None
            prepared = preparation.prepare(found, data, report)

        def on_step(report: StepReport) -> None:
            notes.extend(report.notes)
            show(f"stage {report.stage}", report.step, report.num_steps, f"loss {report.loss:.4f}")
            for note in report.notes:
                show(f"step {report.step}: {note}", 0, 0, "")

        try:
            model = loop.train(found, prepared, folder, report=on_step, start=begin)
        except DivergedError as error:
            raise InputError(str(error)) from None
        except KeyboardInterrupt:
            show(f"stopped; the same command goes on from the last checkpoint in {folder}", 0, 0, "")
            raise typer.Exit(130) from None
    if state.is_main_process:
        values = {"run": str(folder), "model": str(model), "notes": [*prepared.notes, *notes]}
        finish(as_json, values, f"{model}: done; try `synesthete evaluate {folder}`")
