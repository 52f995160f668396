"""Outside trackers of a run, such as Weights & Biases or MLflow, as accelerate knows them; none is ever needed."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from synesthete.io import read_json, write_file
from synesthete.logs import PACKAGE
from synesthete.types import InputError, first_line

if TYPE_CHECKING:
    from synesthete.config import Recipe

logger = logging.getLogger(__name__)

IDS = "trackers.json"  # in the run folder: what each tracker calls the run
TENSORBOARD = "tensorboard"  # which a run writes anyway
PACKAGES = {"comet_ml": "comet-ml"}  # where a package is called otherwise than its tracker


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that there are such trackers, and that their packages are installed."""
    available = {str(kind) for kind in get_available_trackers()} | LOGGER_TYPE_TO_CLASS.keys() - set(LoggerType.list())
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise InputError(f"no tracker {name!r}; there are {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in available:
            raise InputError(f"tracker {name} is not installed; `pip install {PACKAGES.get(name, name)}`")


class Trackers:
    """The trackers of a run, told what metrics.jsonl is told, under STAGE/NAME; the recipe is their configuration.

    Steps are counted over all stages. A run that goes on does so in the run of before, where a tracker can. One that
    fails while the run trains is left out from then on, which is said.

    Args:
        names: as accelerate calls them, or as whoever registered one there does. folder: of the run, whose name is the
            run's. recipe: what is trained.

    Raises:
        InputError: as `check_trackers`, or a tracker cannot be started.
    """

    def __init__(self, names: Sequence[str], folder: Path, recipe: Recipe) -> None:
        check_trackers(names)
        self.first: dict[str, int] = {}
        for stage in recipe.stages:
            self.first[stage.name] = sum(other.num_steps for other in recipe.stages[: len(self.first)])
        self.running: dict[str, Any] = {}
        path = folder / IDS
        ids = dict(read_json(path)) if path.is_file() else {}
        for name in dict.fromkeys(names):
            if name == TENSORBOARD:
                continue
            kind = LOGGER_TYPE_TO_CLASS[name]
            places = [str(folder)] if kind.requires_logging_directory else []
            given, made = {"wandb": _wandb, "mlflow": _mlflow}.get(name, lambda *_: ({}, None))(folder, ids.get(name))
            try:
                tracker = kind(PACKAGE, *places, **given)
                getattr(tracker, "start", lambda: None)()
                tracker.store_init_configuration(flat(recipe.to_dict()))
            except Exception as error:  # each has its own
                raise InputError(f"tracker {name}: {first_line(error)}; set it up, or leave --tracker out") from None
            self.running[name] = tracker
            ids[name] = made or (tracker.tracker.info.run_id if name == "mlflow" else None)
        if kept := {name: value for name, value in ids.items() if value}:
            write_file(path, json.dumps(kept) + "\n")

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of a step of a stage."""
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self._all("log", named, step=self.first[stage] + step)

    def finish(self) -> None:
        """The run is over, or stops for now."""
        self._all("finish")

    def _all(self, method: str, *arguments: Any, **named: Any) -> None:
        for name, tracker in list(self.running.items()):
            try:
                getattr(tracker, method)(*arguments, **named)
            except Exception as error:  # a server that is away must not end a training
                del self.running[name]
                logger.warning("tracker %s: %s; the run goes on without it", name, first_line(error))


def flat(values: Any, where: str = "") -> dict[str, Any]:
    """Nested values under dotted names, as trackers take a configuration."""
    if isinstance(values, list) and not any(isinstance(value, dict | list) for value in values):
        values = ", ".join(map(str, values))
    if not isinstance(values, dict | list):
        return {where: values}
    found: dict[str, Any] = {}
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        found |= flat(value, f"{where}.{key}".strip("."))
    return found


def _wandb(folder: Path, there: str | None) -> tuple[dict[str, Any], str | None]:
    made = there or uuid.uuid4().hex[:8]
    return {"name": folder.name, "id": made, "resume": "allow"}, made


def _mlflow(folder: Path, there: str | None) -> tuple[dict[str, Any], str | None]:
    return ({"run_id": there} if there else {"run_name": folder.name}), None
