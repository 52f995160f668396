"""Trainings as processes of their own: started, stopped, found again, and what their run folders tell of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from synesthete.io import LOCK, machine, read_json
from synesthete.types import InputError

NAME = r"[\w][\w.-]{0,59}"
SHOWN = 400  # points of a curve at most
LAST_BYTES = 2000  # of a log, in which its last line is looked for


class Trainings:
    """The runs in a folder. The commands that were started here are remembered until this process ends."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def names(self) -> list[str]:
        """Every run, the newest first."""
        found = [path.parent for path in self.runs.glob("*/recipe.yaml")]
        return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def folder(self, name: str) -> Path:
        """Where a run is.

        Raises:
            InputError: a name that could be a path.
        """
        if not re.fullmatch(NAME, name or ""):
            raise InputError(f"run {name!r}: give a name of letters, digits, '-' and '_'")
        return self.runs / name

    def log(self, name: str) -> Path:
        """Where what a training says is written: beside its folder, in which nothing else may lie before it begins."""
        return self.runs / f"{self.folder(name).name}.log"

    def start(self, recipe: str, name: str, data: str = "", changes: str = "") -> None:
        """`synesthete train`, or the same again, which goes on from the last checkpoint; it outlives this process.

        data: a folder of one's own. changes: KEY=VALUE, one a line.

        Raises:
            InputError: it is going on already, or a name that could be a path.
        """
        folder = self.folder(name)
        if self.process(name) is not None:
            raise InputError(f"{folder}: is being trained already; stop it, or choose another name")
        assignments = [line.strip() for line in changes.splitlines() if line.strip()]
        assignments += [f"data.folder={data.strip()}"] if data.strip() else []
        if not assignments and (folder / "recipe.yaml").is_file():
            recipe = str(folder / "recipe.yaml")  # as it was
        options = [word for one in assignments for word in ("--set", one)]
        self.runs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", "synesthete", "train", "--out", str(folder), *options, "--", recipe],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def process(self, name: str) -> int | None:
        """The number of the process that trains a run, whoever started it; None where there is none."""
        own = self.started.get(name)
        if own is not None and own.poll() is None:
            return own.pid
        try:
            notes = read_json(self.folder(name) / LOCK)
            number = int(notes["process"])
            if notes["machine"] != machine() or number <= 1:
                return None
            os.kill(number, 0)
            command = Path(f"/proc/{number}/cmdline")
            is_ours = not command.parent.parent.is_dir() or b"synesthete" in command.read_bytes()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return number if is_ours else None

    def stop(self, name: str) -> bool:
        """Interrupt the training of a run, which keeps its last checkpoint; False where there is none."""
        number = self.process(name)
        if number is None:
            return False
        os.kill(number, signal.SIGTERM)  # SIGINT is ignored by what a script started in the background
        return True

    def last_line(self, name: str) -> str:
        """What it said last."""
        try:
            with self.log(name).open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - LAST_BYTES, 0))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def figures(self, name: str) -> tuple[dict[str, Any], dict[str, list[tuple[int, float]]]]:
        """The newest of every figure of a run's last stage, and its curves: (step, value) by name."""
        newest: dict[str, Any] = {}
        curves: dict[str, list[tuple[int, float]]] = {}
        try:
            lines = (self.folder(name) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                told = dict(json.loads(line))
                if told.get("stage") != newest.get("stage"):
                    newest, curves = {}, {}
                for key, value in told.items():
                    if key in ("loss", "held_out_loss", "condition_sensitivity"):
                        curves.setdefault(key, []).append((int(told["step"]), float(value)))
                newest |= told
            except (ValueError, TypeError, KeyError):  # the end of a line that is being written
                continue
        thinned = {key: points[:: max(len(points) // SHOWN, 1)] for key, points in curves.items()}
        return newest, thinned

    def previews(self, name: str) -> list[Path]:
        """The newest pictures of a run."""
        found = sorted((self.folder(name) / "previews").glob("step_*.png"))
        return [path for path in found if path.name.split("-")[0].removesuffix(".png") == found[-1].name[:12]][:4]
