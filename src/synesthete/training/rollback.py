"""Rollbacks of a run to its last good state, kept in a file: a rollback has to survive a kill as a checkpoint does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from synesthete.io import write_file
from synesthete.training.checkpoint import latest_checkpoint, reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.training.spikes import Spike

FILE = "rollbacks.json"
ROLLED_BACK_FROM = "rolled_back_from"


@dataclass(frozen=True)
class Rollback:
    """From `step`, where a spike had lasted, to the checkpoint of step `to`; 0 is the beginning of the stage.

    figure, level, reached: as of the `Spike`.
    """

    step: int
    to: int
    figure: str
    level: float
    reached: float


def read_rollbacks(folder: Path) -> list[Rollback]:
    """The rollbacks of a stage so far, the first one first. folder: that of its checkpoints.

    Raises:
        InputError: a damaged file.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    with reading(path):
        return [Rollback(**values) for values in json.loads(path.read_text(encoding="utf-8"))]


def add_rollback(folder: Path, spike: Spike, step: int, patience: int) -> Rollback:
    """Write down that the run leaves `step` for the newest checkpoint from before the spike, and to which."""
    steps = [before for path in folder.glob("step_*") if (before := step_of(path)) <= step - patience]
    found = Rollback(step, max(steps, default=0), spike.figure, spike.level, spike.reached)
    values = [asdict(one) for one in (*read_rollbacks(folder), found)]
    write_file(folder / FILE, json.dumps(values, indent=1) + "\n")
    return found


def remove_left(folder: Path, rollbacks: Sequence[Rollback]) -> None:
    """Delete the checkpoints that a rollback has left behind."""
    for path in folder.glob("step_*"):
        state = path / "state.json"
        # Without it a kill came amid the deleting.
        made_after = json.loads(state.read_text()).get("rollbacks", 0) if state.is_file() else 0
        if any(step_of(path) > found.to for found in rollbacks[made_after:]):
            shutil.rmtree(path, ignore_errors=True)


def num_at_same_place(rollbacks: Sequence[Rollback], step: int, reach: int) -> int:
    """How many of the last rollbacks a spike at `step` follows without the run having got `reach` steps past them."""
    count = 0
    for found in reversed(rollbacks):
        if step > found.step + reach:
            break
        count += 1
    return count


def num_to_keep(folder: Path, step: int, patience: int | None, least: int) -> int:
    """How many of the last checkpoints to keep at `step`, so that one of them is from before any spike going on."""
    if patience is None:
        return least
    return max(least, 1 + sum(step_of(path) > step - patience for path in folder.glob("step_*")))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.removeprefix("step_"))


def last_good(folder: Path) -> tuple[Path | None, list[Rollback]]:
    """The checkpoint to go on from, and the rollbacks so far; what they have left behind is deleted.

    Raises:
        InputError: a damaged file.
    """
    rollbacks: list[Rollback] = read_rollbacks(folder)
    if rollbacks:
        remove_left(folder, rollbacks)
    return latest_checkpoint(folder), rollbacks


def line_of(found: Rollback) -> dict[str, Any]:
    """What metrics.jsonl says of a rollback, at the step that it went to."""
    return {ROLLED_BACK_FROM: found.step, "figure": found.figure, "level": found.level, "reached": found.reached}
