"""What a run folder tells of its run: the recipe, the figures of each stage, its checkpoints and rollbacks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from synesthete.config import Recipe
from synesthete.io import LOCK
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.config import Stage


@dataclass(frozen=True)
class StageRecord:
    """One stage. lines: its figures in `metrics.jsonl`. rollbacks: to its last good states, the first one first."""

    stage: Stage
    lines: list[dict[str, Any]]
    checkpoints: list[Path]
    rollbacks: list[dict[str, Any]]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a figure, where it was written."""
        found = [(line["step"], line[name]) for line in self.lines if isinstance(line.get(name), int | float)]
        return [step for step, _ in found], [value for _, value in found]

    def last(self, *names: str) -> dict[str, Any] | None:
        """The last step's lines that have all these figures between them, as one; None where no step has."""
        steps: dict[int, dict[str, Any]] = {}
        for line in self.lines:
            steps.setdefault(line["step"], {}).update(line)
        return next((steps[step] for step in sorted(steps, reverse=True) if set(names) <= steps[step].keys()), None)

    @property
    def step(self) -> int:
        """The last step that figures were written of."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether its last checkpoint is there."""
        return bool(self.checkpoints) and step_of(self.checkpoints[-1]) >= self.stage.num_steps


@dataclass(frozen=True)
class RunRecord:
    """A run folder. stages: those of the recipe, whether begun or not."""

    folder: Path
    recipe: Recipe
    stages: list[StageRecord]

    @property
    def current(self) -> StageRecord:
        """The stage that is or was last trained."""
        begun = [record for record in self.stages if record.lines or record.checkpoints]
        return begun[-1] if begun else self.stages[0]


def read_run(folder: Path) -> RunRecord:
    """What there is to read of a run; half-written lines are left out.

    Raises:
        InputError: no run folder, or a recipe that cannot be read.
    """
    if not (folder / "recipe.yaml").is_file():
        raise InputError(f"{folder}: no recipe.yaml in it; give a run folder or a model")
    recipe = Recipe.load(folder / "recipe.yaml")
    lines = _lines(folder / "metrics.jsonl")
    stages = []
    for number, stage in enumerate(recipe.stages):
        place = folder / "checkpoints" / f"{number}-{stage.name}"
        own = [line for line in lines if line["stage"] == stage.name]
        checkpoints = sorted(path for path in place.glob("step_*") if (path / "state.json").is_file())
        stages.append(StageRecord(stage, own, checkpoints, _rollbacks(place / "rollbacks.json")))
    return RunRecord(folder, recipe, stages)


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            found.append({**line, "stage": str(line["stage"]), "step": int(line["step"])})
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _rollbacks(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return []


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(checkpoint.name.removeprefix("step_"))


def is_written_to(folder: Path) -> bool:
    """Whether a training is in the folder now."""
    if not (folder / LOCK).is_file():
        return False
    lock = FileLock(folder / LOCK, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False
