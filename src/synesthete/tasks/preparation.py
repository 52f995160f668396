"""What every preparation does: the codec measured, encoding once, what was left out; prepared data at an address."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.audio_text import SoundAndText
from synesthete.config import plain
from synesthete.data.files import some
from synesthete.data.rows import Pieces, Rows, compute_rows
from synesthete.data.samples import Samples
from synesthete.data.streaming import INDEX, Shard, Store, StreamedShards, content_name, rows_in_shard, write_rows
from synesthete.io import digest, load_or_compute
from synesthete.types import InputError, Prepared, Progress

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


PARTS = ("train", "test", "classifier", "speakers")
NAME = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{24}\.safetensors")  # no way out of a folder


def write_prepared(prepared: Prepared, recipe: Recipe, address: str, progress: Progress) -> None:
    """Put prepared data at an address, in shards; a call that was killed goes on.

    Raises:
        InputError: an address that cannot be written, or samples of a kind that is not read in shards.
    """
    store, tensors = Store(address), {f"statistics.{name}": value for name, value in prepared.statistics.items()}
    parts = {part: samples for part in PARTS if (samples := getattr(prepared, part)) is not None}
    values: dict[str, Any] = {}
    for number, (part, samples) in enumerate(parts.items()):
        progress("parts written", number, len(parts))
        columns = [value for value in vars(samples).values() if isinstance(value, Rows | Pieces)]
        write = partial(_plain, store, tensors, rows_in_shard(columns))
        own = {
            field.name: getattr(samples, field.name) is not None
            if field.name in samples.augmentations
            else write(f"{part}.{field.name}", getattr(samples, field.name))
            for field in fields(samples)
        }
        values[part] = {"kind": type(samples).__name__, "fields": own}
    content = save({name: value.contiguous().clone() for name, value in tensors.items()})
    store.write(named := content_name(content, "tensors"), content)
    index = {"made_for": made_for(recipe), "tensors": named, "parts": values, "told": plain(dict(prepared.told))}
    index |= {name: list(getattr(prepared, name)) for name in ("class_names", "notes", "skipped")}
    store.write(INDEX, json.dumps(index).encode())  # last: before it, nothing is there
    progress("parts written", len(parts), len(parts))


def read_prepared(recipe: Recipe, address: str) -> Prepared:
    """What `write_prepared` put at an address; shards are fetched when they are read."""
    store = Store(address)
    content = store.read(INDEX)
    try:
        index = dict(json.loads(content))
        if index["made_for"] != made_for(recipe):
            raise InputError(
                f"{address}: prepared for other data, codec or conditioner than {recipe.name}'s; give the recipe and "
                "the --set that it was prepared with, or prepare it anew"
            )
        tensors = load(store.read(_checked(index["tensors"])))
        parts = {part: _samples(store, tensors, recipe, **one) for part, one in index["parts"].items() if part in PARTS}
        start = "statistics."
        statistics = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        rest = {name: tuple(map(str, index[name])) for name in ("class_names", "notes", "skipped")}
        told = {name: _tuples(value) for name, value in index["told"].items()}
        return Prepared(statistics=statistics, told=told, **parts, **rest)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        logger.debug("%s", INDEX, exc_info=error)
        raise InputError(f"{address}/{INDEX}: damaged; prepare it again") from None


def made_for(recipe: Recipe) -> str:
    """A name for what decides how data are prepared."""
    return digest([plain(recipe.data), plain(recipe.codec), plain(recipe.conditioner)], size=12)


def _plain(store: Store, tensors: dict[str, Tensor], num_rows: int, name: str, value: Any) -> Any:
    """A field of samples for the index: its tensors go among the others, its rows into shards."""
    if isinstance(value, Rows | Pieces):
        return {"rows": write_rows(store, name, value, num_rows)}
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if value is SoundAndText:
        return {"told_by": value.__name__}
    if isinstance(value, tuple):
        return [_plain(store, tensors, num_rows, f"{name}.{i}", one) for i, one in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise InputError(f"{name} of {type(value).__name__} is not read in shards; give --out FOLDER")


def _samples(store: Store, tensors: dict[str, Tensor], recipe: Recipe, kind: str, fields: dict[str, Any]) -> Any:
    """A part of prepared data; how they are augmented is the recipe's."""

    def read(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(read, value))
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "told_by" in value:
            return {SoundAndText.__name__: SoundAndText}[value["told_by"]]
        shards = [Shard(_checked(name), int(num), int(size)) for name, num, size in value["rows"]]
        return Rows(StreamedShards(store, shards))

    kinds = {each.__name__: each for each in Samples.__subclasses__()}
    data, made = recipe.data(), kinds[kind]
    own = {
        name: (getattr(data, name) if value else None) if name in made.augmentations else read(value)
        for name, value in fields.items()
    }
    return made(**own)


def _checked(name: str) -> str:
    """A file's name that leads nowhere else."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: no name of a shard")
    return name


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
