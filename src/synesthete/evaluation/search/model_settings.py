"""The sampling settings that a model folder says are its own, written anew."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from synesthete import hub
from synesthete.config import Recipe, Sampling
from synesthete.diffusion.sampling import scheduler_for
from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synesthete.diffusion.process import Process

RECIPE = "recipe.yaml"
SCHEDULER = "scheduler"


def check_writable(folder: Path) -> None:
    """Make sure that a model's settings may be changed, before minutes are spent on finding better ones.

    Raises:
        InputError: a model of the package or of the Hub's cache, a folder that cannot be written, or a damaged recipe.
    """
    instead = f"copy it first (`cp -rL {folder} my-model`) and tune the copy, or give --no-write"
    if folder.resolve().is_relative_to(hub.SHIPPED.resolve()):
        raise InputError(f"{folder.name}: ships with the package and stays as it is; {instead}")
    if (folder / hub.MODEL_INDEX).is_symlink():
        raise InputError(f"{folder}: a download that others may use too; {instead}")
    files = [folder, folder / hub.MODEL_INDEX, *([folder / RECIPE] if (folder / RECIPE).exists() else [])]
    if closed := [path for path in files if not os.access(path, os.W_OK)]:
        raise InputError(f"{closed[0]}: cannot be written; {instead}")
    if (folder / RECIPE).exists():
        Recipe.load(folder / RECIPE)


def write_sampling(folder: Path, settings: Mapping[str, Any], process: Process) -> None:
    """Make sampling settings the model's own: in its index, its scheduler and, where it has one, its recipe.

    Each file is written beside its place and renamed; killed between two of them, the model loads all the same.

    Raises:
        InputError: as `check_writable`, settings that do not fit, or a full disk.
    """
    check_writable(folder)
    own = Sampling()
    for name, value in settings.items():
        setattr(own, name, tuple(value) if isinstance(value, list) else value)
    scheduler = scheduler_for(vars(own), process)
    index = json.loads((folder / hub.MODEL_INDEX).read_text(encoding="utf-8"))
    index["sampling"] = vars(own)
    index[SCHEDULER] = ["diffusers", type(scheduler).__name__]
    if (folder / RECIPE).exists():
        recipe = Recipe.load(folder / RECIPE)
        recipe.sampling = own
        write_file(folder / RECIPE, recipe.to_yaml())
    write_file(folder / SCHEDULER / scheduler.config_name, scheduler.to_json_string())
    write_file(folder / hub.MODEL_INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")
