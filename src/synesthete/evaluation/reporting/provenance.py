"""What was measured, when, how and on what, as a report says it."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


def provenance(pipeline: Any, start: datetime, model: str = "", command: str | None = None) -> dict[str, Any]:
    """The facts that every report on a model begins with.

    start: when the work began. model: what the report calls it; its recipe where empty. command: the command line of
    this process where None.
    """
    return {
        "model": model or pipeline.config.card.get("recipe", ""),
        "recipe": pipeline.config.card.get("recipe", ""),
        "made on": start.strftime("%Y-%m-%d %H:%M UTC"),
        "took": f"{(datetime.now(UTC) - start).total_seconds():.0f} s",
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "device": device_name(pipeline.device),
        "software": f"torch {torch.__version__}, Python {platform.python_version()}",
        "sampling": ", ".join(f"{key} {value}" for key, value in pipeline.sampling_settings().items()),
        "process": ", ".join(f"{key} {value}" for key, value in pipeline.process.settings().items()),
    }


def device_name(device: torch.device) -> str:
    """The processor as a reader would call it, and how many threads it is used with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"
