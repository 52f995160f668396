"""The models that a page may ask for, of which one at a time is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from synesthete import hub
from synesthete.tasks import Task
from synesthete.tasks.model import Model, load
from synesthete.tasks.task import find_task, model_folder, model_task_name, task_names
from synesthete.types import InputError


class Shelf:
    """What ships, the finished runs in a folder, and `more` models, by the task that each is of."""

    def __init__(self, more: Sequence[str] = (), runs: Path = Path("runs"), device: str = "cpu") -> None:
        self.more, self.runs, self.device = more, runs, device
        self.names = {name: model_task_name(model_folder(name)) for name in more}
        self.lock = threading.Lock()
        self.loaded: Model | None = None
        self.look()

    def look(self) -> None:
        """See which models there are by now."""
        found = [str(path) for path in sorted(self.runs.glob("*")) if (path / "model" / hub.MODEL_INDEX).is_file()]
        for name in (*hub.shipped_models(), *found):
            with contextlib.suppress(InputError):  # a run of an earlier version is none to be asked
                self.names.setdefault(name, model_task_name(model_folder(name)))

    def of(self, task: Task) -> list[str]:
        """The models of a task: those that were named, then its shipped one, then the others."""
        names = [name for name, own in self.names.items() if own == task.name]
        return sorted(names, key=lambda name: (name not in self.more, name != task.shipped_model))

    def tasks(self) -> list[Task]:
        """Those that there is a model of, in the order in which they are known."""
        return [find_task(name) for name in task_names() if name in self.names.values()]

    @contextlib.contextmanager
    def borrow(self, name: str) -> Iterator[Model]:
        """The model, loaded, and nobody else's meanwhile; the one that was loaded before is let go of first."""
        if name not in self.names:
            raise InputError(f"{name}: not a model of this studio; choose one of {', '.join(self.names)}")
        with self.lock:
            if self.loaded is None or self.loaded.name != name:
                self.loaded = None
                free_memory()
                self.loaded = load(name, self.device)
            yield self.loaded

    def forget(self, name: str) -> None:
        """Load it again when it is next borrowed: its files have changed."""
        with self.lock:
            if self.loaded is not None and self.loaded.name == name:
                self.loaded = None
        self.look()


def free_memory() -> None:
    """Give back what nothing refers to any more, to the system, too."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)
