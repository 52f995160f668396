"""What a run writes down: metrics.jsonl, TensorBoard, environment.json."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

from synesthete.io import write_file
from synesthete.training.event_file import open_event_file
from synesthete.training.projector import write_embedding
from synesthete.training.rollback import ROLLED_BACK_FROM, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from synesthete.training.rollback import Rollback

PACKAGES = ("synesthete", "torch", "diffusers", "accelerate", "transformers", "safetensors", "numpy")


class RunLog:
    """One JSON object a line in `metrics.jsonl`, the same figures in TensorBoard where that is installed.

    first_step: where this session starts; lines of later steps, left by a run that was killed or that went back, are
    removed. rollbacks: of the stage so far; each keeps its line.
    """

    def __init__(self, folder: Path, stage: str, first_step: int, rollbacks: Sequence[Rollback] = ()) -> None:
        self.path, self.stage = folder / "metrics.jsonl", stage
        kept = [line for line in self._lines() if self._is_rollback(line) or not self._is_later(line, first_step)]
        write_file(self.path, "".join(line + "\n" for line in kept))
        self.board = folder / "tensorboard" / stage
        self.events = open_event_file(self.board, first_step)
        for found in rollbacks[sum(self._is_rollback(line) for line in kept) :]:
            self.write(found.to, **line_of(found))

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def _is_later(self, line: str, first_step: int) -> bool:
        try:
            values = json.loads(line)
        except ValueError:
            return True
        return values.get("stage") == self.stage and values.get("step", 0) > first_step

    def _is_rollback(self, line: str) -> bool:
        return f'{{"stage": "{self.stage}", ' in line and f'"{ROLLED_BACK_FROM}": ' in line

    def write(self, step: int, **values: Any) -> None:
        """Write figures of a step; a list becomes one TensorBoard scalar an item."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, "step": step, **values}) + "\n")
        if self.events is None:
            return
        for name, value in values.items():
            if isinstance(value, list):
                for i, item in enumerate(value):
                    if item is not None:
                        self.events.scalar(f"{name}/{i}", item, step)
            elif isinstance(value, int | float):
                self.events.scalar(name, value, step)

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture in TensorBoard."""
        if self.events:
            self.events.picture(name, image, step)

    def sound(self, name: str, waveform: torch.Tensor, sample_rate: int, step: int) -> None:
        """A sound in TensorBoard: waveform (S,) in [-1, 1]."""
        if self.events:
            self.events.sound(name, waveform, sample_rate, step)

    def embedding(self, name: str, vectors: torch.Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
        """Vectors (n, D) in TensorBoard's projector, the newest of a name; metadata: column -> what each vector is."""
        if self.events:
            write_embedding(self.board, name, vectors, metadata)

    def close(self) -> None:
        """No more is written."""
        if self.events:
            self.events.close()


def write_environment(folder: Path) -> None:
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
        "num_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": versions,
    }
    write_file(folder / "environment.json", json.dumps(values, indent=1) + "\n")
