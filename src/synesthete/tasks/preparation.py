"""What every task's preparation does: measure the codec on the data, encode them once, and say what was left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import hub
from synesthete.data.files import some
from synesthete.data.rows import Rows, compute_rows
from synesthete.io import load_or_compute
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.config import Recipe

logger = logging.getLogger(__name__)


def cached(name: str) -> Path:
    """A folder of the cache for prepared data."""
    return hub.cache_folder() / "prepared" / name


def measure_codec(codec: Any, path: Path, batches: Callable[[], Iterable[Tensor]]) -> dict[str, Tensor]:
    """The codec's weights and buffers, measured on batches that it reads; those of the file where it is there."""

    def measure() -> dict[str, Tensor]:
        codec.fit(batches())
        return {name: value.clone() for name, value in codec.state_dict().items()}

    return load_or_compute(path, measure)


def encode_shards(
    folder: Path, num: int, size: int, encode: Callable[[Tensor], Tensor], what: str, report: Progress, stem: str = ""
) -> Rows:
    """encode(places) of `num` samples, `size` of them a shard, which are kept in numbered files of the folder."""
    return compute_rows(
        num, size, lambda i, _: folder / f"{stem}{i:05d}.safetensors", encode, partial(report, what), step=what
    )


def accelerator() -> torch.device:
    """Where frozen networks encode: the accelerator, if there is one."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def check_conditioner(recipe: Recipe, class_names: tuple[str, ...], what: str) -> None:
    """Make sure that the conditioner knows the classes of the data, which are pictures or recordings."""
    with torch.device("meta"):
        told = recipe.conditioner().config
    if told.get("num_classes", len(class_names)) != len(class_names):
        raise InputError(
            f"recipe {recipe.name}: {what} of {len(class_names)} classes, a conditioner of {told.num_classes}; "
            f"--set conditioner.num_classes={len(class_names)}"
        )
    if tuple(told.get("class_names", class_names)) != tuple(class_names):
        raise InputError(
            f"recipe {recipe.name}: {what} of {', '.join(class_names)}, a conditioner of "
            f"{', '.join(told.class_names) or 'no class'}; --set conditioner.class_names='{list(class_names)}'"
        )


def check_training_classes(class_names: Sequence[str], labels: Iterable[int]) -> None:
    """Make sure that every class has a picture left to train on."""
    there = set(labels)
    for number, name in enumerate(class_names):
        if number not in there:
            raise InputError(f"not one readable training picture of class {name!r}; mend some or take the class out")


def say_notes(notes: Sequence[str], skipped: Sequence[str], what: str = "unreadable") -> tuple[str, ...]:
    """The notes and one of the files that were left out, each said as a warning."""
    found = [*notes]
    if skipped:
        found.append(f"skipped {len(skipped)} {what} files: {some(skipped, 10)}")
    for note in found:
        logger.warning(note)
    return tuple(found)
