"""The folder that a judge is kept in, in the cache or beside a model: weights, configuration, and how good it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synesthete.io import write_file, write_folder
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import ModelMixin

RESULT_NAME = "judge.json"
CONFIG_NAME = "config.json"


def check_kind(folder: Path, kind: type, makes: str) -> None:
    """Refuse a judge that is no `kind`, beside a model that makes `makes`; a damaged one is left to its reader.

    Raises:
        InputError: one that judges something else.
    """
    try:
        found = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if found != kind.__name__:
        raise InputError(f"{folder}: a {found}, and the model makes {makes}; remove it and train the model's run again")


def write_judge(judge: ModelMixin, result: dict[str, Any], folder: Path) -> None:
    """Write a judge's folder beside its place and rename it, over one that is there.

    result: plain values, written as RESULT_NAME.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """

    def fill(partial: Path) -> None:
        judge.save_pretrained(partial)
        write_file(partial / RESULT_NAME, json.dumps(result, indent=1) + "\n")

    write_folder(folder, fill)
