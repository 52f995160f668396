"""Returns of a run to its last good state: kept in a file, for a return has to survive a kill as a checkpoint does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from synesthete.training.checkpoints import latest_checkpoint, reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.training.spikes import Spike

FILE = "returns.json"
RETURNED_FROM = "returned_from"


@dataclass(frozen=True)
class Return:
    """From `step`, where a spike had lasted, to the checkpoint of step `to`; 0 is the beginning of the stage.

    figure, level, reached: as of the `Spike`.
    """

    step: int
    to: int
    figure: str
    level: float
    reached: float


def read_returns(folder: Path) -> list[Return]:
    """The returns of a stage so far, the first one first. folder: that of its checkpoints.

    Raises:
        InputError: a damaged file.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    with reading(path):
        return [Return(**values) for values in json.loads(path.read_text(encoding="utf-8"))]


def add_return(folder: Path, spike: Spike, step: int, patience: int) -> Return:
    """Write down that the run leaves `step` for the newest checkpoint from before the spike, and to which."""
    steps = [before for path in folder.glob("step_*") if (before := step_of(path)) <= step - patience]
    found = Return(step, max(steps, default=0), spike.figure, spike.level, spike.reached)
    values = [asdict(one) for one in (*read_returns(folder), found)]
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{FILE}.partial"
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / FILE)
    return found


def remove_left(folder: Path, returns: Sequence[Return]) -> None:
    """Delete the checkpoints that a return has left behind."""
    for path in folder.glob("step_*"):
        state = path / "state.json"
        # Without it a kill came amid the deleting.
        made_after = json.loads(state.read_text()).get("returns", 0) if state.is_file() else 0
        if any(step_of(path) > found.to for found in returns[made_after:]):
            shutil.rmtree(path, ignore_errors=True)


def num_at_same_place(returns: Sequence[Return], step: int, reach: int) -> int:
    """How many of the last returns a spike at `step` follows without the run having got `reach` steps past them."""
    count = 0
    for found in reversed(returns):
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


def last_good(folder: Path) -> tuple[Path | None, list[Return]]:
    """The checkpoint to go on from, and the returns so far; what they have left behind is deleted.

    Raises:
        InputError: a damaged file.
    """
    returns: list[Return] = read_returns(folder)
    if returns:
        remove_left(folder, returns)
    return latest_checkpoint(folder), returns


def line_of(found: Return) -> dict[str, Any]:
    """What metrics.jsonl says of a return, at the step that it went to."""
    return {RETURNED_FROM: found.step, "figure": found.figure, "level": found.level, "reached": found.reached}
