"""What a model's model_index.json may say: read and checked before anything of it is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synesthete import hub
from synesthete.config import Sampling, build, find_class
from synesthete.config.recipe import filled
from synesthete.diffusion.process import Process
from synesthete.io import read_json
from synesthete.logs import PACKAGE
from synesthete.types import InputError

PIPELINE = "Pipeline"  # the class that one names


def read_index(folder: Path) -> dict[str, Any]:
    """What a folder's model_index.json says."""
    path = folder / hub.MODEL_INDEX
    try:
        index = dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: damaged; train or copy the model again") from None
    kind = index.get("_class_name")
    if kind in (PIPELINE, None):
        try:
            check_index(index)
        except (InputError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({error}); train or copy the model again") from None
    if kind == "Cascade":
        raise InputError(f"{folder}: two models, one after the other; give one of them, {folder}/base or the like")
    if kind != PIPELINE:
        raise InputError(f"{folder}: a {kind}, not a Synesthete model; load it with diffusers, or give another")
    return index


def check_index(index: Mapping[str, Any]) -> None:
    """Make sure that what a model_index.json says beside its parts is of the right types."""
    process, sampling, card = (dict(index.get(key) or {}) for key in ("process", "sampling", "card"))
    kind, arguments = Process.kind_of(process)
    build(kind, **arguments)
    filled(Sampling, sampling, "sampling")
    names = card.get("class_names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("card.class_names: no list of names")
    folded = card.get("folded_guidance")
    if isinstance(folded, bool) or not isinstance(folded, int | float | None):
        raise InputError("card.folded_guidance: no number")
    if wrong := [key for key in ("recipe", "task") if not isinstance(card.get(key, ""), str)]:
        raise InputError(f"card.{wrong[0]}: no name")


def find_part_class(named: Any, where: str) -> Any:
    """The class of [library, name] in a model_index.json."""
    if not isinstance(named, list) or len(named) != 2:
        raise InputError(f"{where}: not named in {hub.MODEL_INDEX}; train or copy the model again")
    library, kind = map(str, named)
    if library.split(".")[0] != PACKAGE:
        raise InputError(f"{where}: is of {library!r}; only parts of {PACKAGE} and registered ones are loaded")
    try:
        return find_class(kind if library == PACKAGE else f"{library}.{kind}")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
