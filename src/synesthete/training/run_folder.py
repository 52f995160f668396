"""The folder of a run: made once, and never mixed with another run."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from synesthete.config import Recipe, first_difference
from synesthete.io import LOCK, PARTIAL, locked, read_json, recover_folder, remove_partial, write_file
from synesthete.training.optim import schedule
from synesthete.training.run_log import ENVIRONMENT, write_environment
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Stage

logger = logging.getLogger(__name__)

OF_A_STEP = ("batch_size", "gradient_accumulation_steps")  # fields that are set anew when machines change


def processes() -> PartialState:
    """The process among those started with it; accelerate takes CPU processes for strangers unless it is told."""
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, **({} if dist.is_initialized() else store_of_this_start()))


def store_of_this_start() -> dict[str, Any]:
    """A store that processes which torchrun started again share with none that were there before; {} of the first.

    torchrun keeps one store for all of its starts, and in it where processes that are gone listened, to which new ones
    then connect in vain. Starts are counted by each machine for itself, so this helps where there is one.
    """
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if start == "0" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    store, rank, world_size = next(dist.rendezvous("env://"))
    return {"store": dist.PrefixStore(f"start {start}", store), "rank": rank, "world_size": world_size}


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder for as long as the context lasts."""
    with locked(folder) if processes().is_main_process else contextlib.nullcontext():
        yield


def stage_folder(folder: Path, recipe: Recipe, number: int) -> Path:
    """Where a run keeps the checkpoints of a stage, by its number in the recipe."""
    return folder / "checkpoints" / f"{number}-{recipe.stages[number].name}"


def share_step(stage: Stage, folder: Path, num: int) -> tuple[int, int]:
    """How many of `num` processes share a step's micro-batches, and how many micro-batches each of them takes.

    A run keeps the micro-batches that it began with, since noise, contrasts and batch norms are those of a micro-batch;
    so it goes on with fewer processes, which accumulate more, or with more. Those that are left over take what
    another takes, which changes no mean.

    Raises:
        InputError: a batch that does not divide, or processes that cannot share what the run began with.
    """
    begun, each = num_begun(folder) or num, stage.gradient_accumulation_steps
    total = begun * each
    if stage.batch_size % total:
        raise InputError(
            f"stage {stage.name}: batch_size {stage.batch_size} does not divide into "
            f"{total} parts ({begun} processes, each {each} accumulation steps)"
        )
    sharing = min(num, total)
    if total % sharing or num % sharing:
        fit = ", ".join(str(one) for one in range(1, total + 1) if total % one == 0)
        raise InputError(
            f"{folder}: stage {stage.name} took {total} micro-batches a step when it was begun, which {num} processes "
            f"cannot share; start {fit}, or a multiple of {total}"
        )
    if num > total and processes().is_main_process:
        logger.warning(
            "stage %s: %d micro-batches a step since it was begun, %d processes: %d repeat what others do",
            *(stage.name, total, num, num - total),
        )
    return sharing, total // sharing


def num_begun(folder: Path) -> int | None:
    """How many processes a run was begun with; None where nothing says so."""
    path = folder / ENVIRONMENT
    if not path.is_file():
        return None
    try:
        return int(read_json(path).get("num_processes", 0)) or None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: damaged; remove it, and start as many processes as the run began with") from None


def open_run(recipe: Recipe, folder: Path) -> None:
    """Make the run folder, or make sure that it holds this very recipe, or one whose last stage this one extends."""
    path = folder / "recipe.yaml"
    with processes().main_process_first():  # else one process takes what another is writing for a strange folder
        begun = (folder / "checkpoints").exists() or (folder / "metrics.jsonl").exists()
        difference = None
        if path.is_file():
            there = Recipe.load(path)
            difference = first_difference(there.to_dict(), recipe.to_dict())
            if difference and begun and (reason := hindrance(there, recipe)):
                raise InputError(
                    f"{folder}: holds a run of another recipe ({reason}); choose another --out or remove it"
                )
        elif folder.is_dir() and any(path.name != LOCK and path.suffix != PARTIAL for path in folder.iterdir()):
            raise InputError(f"{folder}: not empty and not a run; choose another --out")
        if not processes().is_main_process:
            return
        remove_partial(folder)
        recover_folder(folder / "model")
        for kept in folder.glob(".after-*.old"):
            recover_folder(folder / kept.name[1 : -len(".old")])
        if difference or not begun or not (folder / ENVIRONMENT).is_file():
            write_file(path, recipe.to_yaml())
            write_environment(folder, (begun and num_begun(folder)) or processes().num_processes)


def hindrance(old: Recipe, new: Recipe) -> str | None:
    """Why a run of `old` cannot go on as one of `new`; None where `new` is the same with more steps in its last stage.

    The steps made so far have to be those that `new` would have made: at a constant rate, or before a cosine restart.
    """
    longer, difference = Recipe.from_dict(old.to_dict()), first_difference(old.to_dict(), new.to_dict())
    for number, was in enumerate(old.stages):
        for name in OF_A_STEP:
            if difference and difference.startswith(f"stages.{number}.{name} is "):
                return f"{difference}; --set stages.{was.name}.{name}={getattr(was, name)} goes on with it"
    last, stage = longer.stages[-1], new.stages[-1]
    num_made = last.num_steps
    last.num_steps, last.cosine_restarts = stage.num_steps, stage.cosine_restarts
    if stage.num_steps <= num_made or first_difference(longer.to_dict(), new.to_dict()):
        return difference
    if "codec" in stage.train:
        return f"{difference}; what trains a codec cannot go on, for at its end the weights became their averages"
    if any(schedule(step, old.stages[-1]) != schedule(step, stage) for step in range(num_made)):
        restart = f"--set stages.{stage.name}.cosine_restarts={[*old.stages[-1].cosine_restarts, num_made]}"
        return f"{difference}, and its learning rate fell over those {num_made}; add {restart} to raise it again"
    return None
