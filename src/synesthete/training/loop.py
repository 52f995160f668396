"""The one way to train: every stage of a recipe, one after the other, into a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.training import checkpoints
from synesthete.training.assembly import load_checkpoint, load_weights, make_parts
from synesthete.training.run_folder import open_run
from synesthete.training.stage import Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.preparation import Prepared
    from synesthete.training.stage import StepReport


def train(
    recipe: Recipe,
    prepared: Prepared,
    folder: Path,
    *,
    report: Callable[[StepReport], None] | None = None,
    start: Path | None = None,
) -> Path:
    """Train every stage of a recipe into a run folder and return the folder of the finished pipeline.

    Run again on the same folder it goes on from the last checkpoint, to the bit (one process, CPU). start: the model
    folder whose weights to begin with, for fine-tuning.

    Raises:
        InputError: a folder that holds a run of another recipe, a full disk, a batch that does not divide.
        DivergedError: a loss or gradient that is not finite.
    """
    open_run(recipe, folder)
    parts = make_parts(recipe, prepared)
    if start is not None:
        load_weights(parts, start)
    for number, stage in enumerate(recipe.stages):
        finished = folder / "checkpoints" / f"{number}-{stage.name}"
        if latest := _last_stage_weights(recipe, folder, number):
            load_checkpoint(parts, latest)
        Run(recipe, stage, parts, prepared, folder, finished, report or (lambda _: None)).run()
    return folder / "model"


def _last_stage_weights(recipe: Recipe, folder: Path, number: int) -> Path | None:
    """The last checkpoint of the stage before this one."""
    if number == 0:
        return None
    return checkpoints.latest_checkpoint(folder / "checkpoints" / f"{number - 1}-{recipe.stages[number - 1].name}")
