"""The one way to train: every stage of a recipe, one after the other, into a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.nn.part import keep_freed_memory
from synesthete.training.assembly import begin_stage, begins_distilled
from synesthete.training.run_folder import alone_in, open_run, processes, stage_folder
from synesthete.training.run_log import Trackers
from synesthete.training.trainer import StageTrainer
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.training.run_log import StepReport
    from synesthete.training.validation import Watch
    from synesthete.types import Prepared

__all__ = ["train_recipe"]


def train_recipe(
    recipe: Recipe,
    prepared: Prepared,
    folder: Path,
    *,
    report: Callable[[StepReport], None] = lambda said: None,
    start: Path | None = None,
    start_parts: tuple[str, ...] | None = None,
    watch: Watch | None = None,
    trackers: Sequence[str] = (),
) -> Path:
    """Train every stage of a recipe into a run folder and return the folder of the finished pipeline.

    Run again on the same folder it goes on from the last checkpoint, to the bit (one process, CPU). A loss that rises
    far above its level and stays there takes the run back to its last good state (`training.checkpoint`).

    start: the model folder whose weights to begin with, for fine-tuning; start_parts: those of these parts alone
    (`assembly.STARTED`). watch(pipeline, prepared, folder, step, log)
    is called in the main process after each preview, with the averaged weights in place, to add pictures of its own to
    both. trackers: names of accelerate's, told what metrics.jsonl is told.

    Raises:
        InputError: a folder that holds a run of another recipe or is in use, a full disk, a batch that does not divide.
        DivergedError: a loss or gradient that is not finite, or that rises at one place again and again.
    """
    keep_freed_memory()
    if start is None and begins_distilled(recipe):
        raise InputError("few steps are learned from a trained model: give --from MODEL, or the stages that train one")
    with alone_in(folder):
        open_run(recipe, folder)
        told = Trackers(trackers, folder, recipe) if trackers and processes().is_main_process else None
        try:
            for number, stage in enumerate(recipe.stages):
                checkpoints, begin = (
                    stage_folder(folder, recipe, number),
                    partial(begin_stage, recipe, prepared, folder, number, start, start_parts),
                )
                StageTrainer(recipe, stage, prepared, folder, checkpoints, begin, report, watch, told).run()
                processes().wait_for_everyone()  # the main one may still be writing what the others are to read
        finally:
            if told:
                told.finish()
    return folder / "model"
