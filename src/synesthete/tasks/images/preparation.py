"""Pictures with their classes: fitted once, measured, and encoded where the codec is a network."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.config import plain
from synesthete.data.labelled import PARTS, PictureSamples
from synesthete.data.preprocessed import preprocess_images
from synesthete.data.rows import compute_rows
from synesthete.io import alone, digest, load_or_compute
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.data.labelled import LabelledPictures, Part
    from synesthete.data.preprocessed import PreprocessedImages
    from synesthete.data.rows import Rows
    from synesthete.types import Progress

BATCH = 500
PART = 32  # pictures that are encoded at once
NUM_VIEWS = 4  # of a training picture that is encoded once: itself, and augmented

logger = logging.getLogger(__name__)


@alone(lambda recipe, folder=None, progress=None: folder or default_folder(recipe))
def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Fit every picture to the codec and measure the codec on those to train on; no picture is in two splits.

    Raises:
        InputError: a class without a readable training picture, a conditioner of other classes, and as
            `preprocess_images`.
    """
    data: LabelledPictures = recipe.data()
    codec, place = recipe.codec(), folder or default_folder(recipe)
    listed = {part: data.pictures(part) for part in PARTS}
    fitted: dict[Part, PreprocessedImages] = {}
    for part in PARTS:
        name = f"pictures-{part}"
        report = partial(progress, name) if progress else None
        fitted[part] = preprocess_images(listed[part][0], codec, place, name, progress=report)
    held_out = set(fitted["test"].contents)
    fitted["classifier"] = fitted["classifier"].without(held_out)
    fitted["train"] = fitted["train"].without(held_out | set(fitted["classifier"].contents))
    samples = {part: PictureSamples(found.rows, listed[part][1][found.places]) for part, found in fitted.items()}
    samples["train"].augmentation = data.augmentation
    check_classes(recipe, data.class_names, set(samples["train"].labels.tolist()))
    shown = digest(b"".join(sorted(fitted["train"].contents)))
    statistics = load_or_compute(place / f"statistics-{shown}.safetensors", partial(measure, codec, samples["train"]))
    if codec.caches_latents:
        codec.load_state_dict(statistics)
        named = digest([plain(recipe.codec), plain(recipe.data.augmentation), shown])
        for part in ("train", "test"):  # a classifier looks at the pictures themselves
            samples[part].x_0 = encode_once(codec, samples[part], place / f"latents-{part}-{named}", part, progress)
    skipped = [name for found in fitted.values() for name in found.skipped]
    notes = [f"skipped {len(skipped)} unreadable files: {', '.join(skipped[:10])}"] if skipped else []
    for note in notes:
        logger.warning(note)
    return Prepared(
        samples["train"],
        samples["test"],
        statistics,
        data.class_names,
        tuple(notes),
        tuple(skipped),
        classifier=samples["classifier"],
    )


def encode_once(codec: Any, samples: PictureSamples, folder: Path, name: str, progress: Progress | None) -> Rows:
    """x_0 of every picture (n, V, c, h, w), in half precision, and of NUM_VIEWS - 1 augmented views where there are."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    codec.eval().to(device)
    views = NUM_VIEWS if samples.augmentation else 1
    return compute_rows(
        len(samples),
        BATCH,
        lambda number, _: folder / f"{number:05d}.safetensors",
        lambda places: samples.encode(codec, places, views, at_once=PART, device=device),
        partial(progress, f"latents-{name}") if progress else lambda done, total: None,
    )


def check_classes(recipe: Recipe, class_names: tuple[str, ...], kept: set[int]) -> None:
    """Make sure that every class has a picture left, and that the conditioner knows the classes of the data.

    Raises:
        InputError: it does not, and what to set.
    """
    for number, name in enumerate(class_names):
        if number not in kept:
            raise InputError(f"not one readable training picture of class {name!r}; mend some or take the class out")
    check_conditioner(recipe, class_names, "pictures")


def check_conditioner(recipe: Recipe, class_names: tuple[str, ...], what: str) -> None:
    """Make sure that the conditioner knows the classes of the data, which are pictures or recordings.

    Raises:
        InputError: it does not, and what to set.
    """
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


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for pictures as this recipe's codec reads them."""
    return hub.cache_folder() / "prepared" / f"pictures-{digest(plain(recipe.codec))}"


def measure(codec: Any, samples: PictureSamples) -> dict[str, Tensor]:
    """The codec's weights and buffers, measured on the pictures."""
    codec.fit(_batches(samples))
    return {name: value.clone() for name, value in codec.state_dict().items()}


def _batches(samples: PictureSamples) -> Iterator[Tensor]:
    return (samples.pictures[places] for places in torch.arange(len(samples)).split(BATCH))
