"""What a run writes down and tells: metrics.jsonl, TensorBoard, environment.json, reports of its steps.

And outside trackers, such as Weights & Biases or MLflow, as accelerate knows them; none is ever needed.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType
from torch import Tensor

from synesthete.io import read_json, write_file
from synesthete.logs import PACKAGE
from synesthete.training.checkpoint import ROLLED_BACK_FROM, Rollback
from synesthete.types import InputError, first_line

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.config import Recipe

logger = logging.getLogger(__name__)

PACKAGES = ("synesthete", "torch", "diffusers", "accelerate", "transformers", "safetensors", "numpy")
ENVIRONMENT = "environment.json"
IDS = "trackers.json"  # in the run folder: what each tracker calls the run
TENSORBOARD = "tensorboard"  # which a run writes anyway
OTHERWISE_CALLED = {"comet_ml": "comet-ml"}  # where a package is called otherwise than its tracker
PROJECTOR_CONFIG = "projector_config.pbtxt"
PROJECTOR_ENTRY = """embeddings {{
  tensor_name: "{name}"
  tensor_path: "projector/{name}/tensors.tsv"
  metadata_path: "projector/{name}/metadata.tsv"
}}
"""


@dataclass
class StepReport:
    """What the loop tells after every optimiser step, and while it looks at pictures beforehand."""

    stage: str
    step: int
    num_steps: int
    loss: float | None = None
    seconds_per_step: float | None = None
    notes: list[str] = field(default_factory=list)


class DivergedError(RuntimeError):
    """Loss or gradients are not finite, or rise at one place again and again; the last good checkpoint is kept."""


class EventFile:
    """TensorBoard's: one file of events in `folder`; where tensorboard is not installed nothing, which is said.

    torch's `SummaryWriter` would write the machine's name into that of the file.

    first_step: the last one before; what an earlier file says of later ones is forgotten.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.board, self.is_open = folder, False
        try:  # here: training does not need it
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            logger.info("tensorboard is not installed; the figures are in metrics.jsonl alone")
            return
        from torch.utils.tensorboard import summary

        self.is_open, self._event, self._summary = True, Event, summary
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.{first_step:07d}"
        self._records = RecordWriter(path.open("ab"))
        self._record(file_version="brain.Event:2")
        self._record(step=first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A figure."""
        self._summarise("scalar", name, value, step)

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture of any mode."""
        self._summarise("image", name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def sound(self, name: str, waveform: Tensor, sample_rate: int, step: int) -> None:
        """A sound: waveform (S,) in [-1, 1]."""
        self._summarise("audio", name, waveform.clamp(-1, 1)[None], step, sample_rate=sample_rate)

    def embedding(self, name: str, vectors: Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
        """Vectors (n, D) in the projector, the newest of a name; metadata: column -> what each vector is."""
        if self.is_open:
            write_embedding(self.board, name, vectors, metadata)

    def close(self) -> None:
        """No more is written."""
        if self.is_open:
            self._records.close()

    def _summarise(self, kind: str, name: str, value: Any, step: int, **how: Any) -> None:
        if self.is_open:
            self._record(step=step, summary=getattr(self._summary, kind)(name, value, **how))

    def _record(self, **fields: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()


class RunLog(EventFile):
    """One JSON object a line in `metrics.jsonl`, the same figures in TensorBoard where that is installed.

    first_step: where this session starts; lines of later steps, left by a run that was killed or that went back, are
    removed. rollbacks: of the stage so far; each keeps its line. trackers: told the same figures.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        first_step: int,
        rollbacks: Sequence[Rollback] = (),
        trackers: Trackers | None = None,
    ) -> None:
        self.path, self.stage, self.trackers = folder / "metrics.jsonl", stage, trackers
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept, num_rollbacks = [], 0
        for line in lines:
            values = parsed(line)
            # By what the line says: JSON writes a name that is not ASCII in another way than it is spelt.
            own = values.get("stage") == stage
            rolled_back = own and ROLLED_BACK_FROM in values
            num_rollbacks += rolled_back
            if values and (not own or rolled_back or values["step"] <= first_step):
                kept.append(line + "\n")
        write_file(self.path, "".join(kept))
        super().__init__(folder / "tensorboard" / stage, first_step)
        for found in rollbacks[num_rollbacks:]:
            values = asdict(found)
            self.write(values.pop("to"), **{ROLLED_BACK_FROM: values.pop("step")}, **values)

    def write(self, step: int, **values: Any) -> None:
        """Write figures of a step; a list becomes one TensorBoard scalar an item."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, "step": step, **values}) + "\n")
        scalars: dict[str, float] = {}
        for name, value in values.items():
            items = {f"{name}/{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {name: value}
            scalars |= {one: item for one, item in items.items() if isinstance(item, int | float)}
        for name, item in scalars.items():
            self.scalar(name, item, step)
        if self.trackers and scalars:
            self.trackers.log(self.stage, step, scalars)


def parsed(line: str) -> dict[str, Any]:
    """What a line of metrics.jsonl says; nothing where a kill left it half-written."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {}


def write_embedding(folder: Path, name: str, vectors: Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
    """Vectors (n, D) under a name, in place of earlier ones of that name.

    folder: where the event files lie. metadata: column -> what each of the n vectors is. Writes
    `projector/NAME/tensors.tsv`, `metadata.tsv`, and the list of all names in `projector_config.pbtxt`.

    Raises:
        ValueError: more vectors than values in a column, or fewer.
    """
    if wrong := [column for column, values in metadata.items() if len(values) != len(vectors)]:
        raise ValueError(f"{len(vectors)} vectors, {len(metadata[wrong[0]])} of {wrong[0]!r}")
    place = folder / "projector" / re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    place.mkdir(parents=True, exist_ok=True)
    rows = ("\t".join(f"{value:.6g}" for value in vector) for vector in vectors.float().tolist())
    (place / "tensors.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    columns = [[" ".join(str(value).split()) for value in column] for column in metadata.values()]
    # One column stands without a head; of several, each has one.
    heads = ["\t".join(metadata)] if len(metadata) > 1 else []
    lines = [*heads, *("\t".join(row) for row in zip(*columns, strict=True))]
    (place / "metadata.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = "".join(PROJECTOR_ENTRY.format(name=path.name) for path in sorted(place.parent.iterdir()))
    (folder / PROJECTOR_CONFIG).write_text(config, encoding="utf-8")


def write_environment(folder: Path, num_processes: int) -> None:
    """Versions and processor, for whoever wants to repeat the run; no names of users, machines or folders."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    values = {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "num_processes": num_processes,
        "num_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": versions,
    }
    write_file(folder / ENVIRONMENT, json.dumps(values, indent=1) + "\n")


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that there are such trackers, and that their packages are installed."""
    available = {str(kind) for kind in get_available_trackers()} | LOGGER_TYPE_TO_CLASS.keys() - set(LoggerType.list())
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise InputError(f"no tracker {name!r}; there are {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in available:
            raise InputError(f"tracker {name} is not installed; `pip install {OTHERWISE_CALLED.get(name, name)}`")


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
            there = ids.get(name)
            made = there or uuid.uuid4().hex[:8] if name == "wandb" else None
            given: dict[str, Any] = {}
            if name == "wandb":
                given = {"name": folder.name, "id": made, "resume": "allow"}
            elif name == "mlflow":
                given = {"run_id": there} if there else {"run_name": folder.name}
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
