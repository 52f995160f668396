"""A data set encoded once, in shards that a killed run leaves usable, and read back into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from synesthete import hub
from synesthete.config import plain
from synesthete.data.pictures import content
from synesthete.data.speech.voices import split_voices
from synesthete.data.spoken import PairedSamples
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.data.pictures import Split
    from synesthete.data.spoken import SpokenPictures

    Progress = Callable[[str, int, int], None]

SPLITS: tuple[Split, ...] = ("train", "test")
SHARD = 500
# Fewer different clips a class than this teach a model that the clip does not depend on the picture.
FEW_TARGETS = 8

logger = logging.getLogger(__name__)


@dataclass
class Prepared:
    """A recipe's data, encoded. statistics: the codec's buffers as measured on the training clips."""

    train: PairedSamples
    test: PairedSamples
    statistics: dict[str, Tensor]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Build the corpus, measure the codec on it, encode every clip and fit every picture; what is there is kept.

    folder: for the corpus and the shards; a place in the cache, named by the settings, where None.
    progress(what, done, total) is called after every shard.

    Raises:
        InputError: whatever is wrong with the data, in one line.
    """
    report = progress or (lambda *_: None)
    data: SpokenPictures = recipe.data()
    corpus = build_corpus(recipe, folder, progress)
    codec, conditioner = recipe.codec(), recipe.conditioner()
    notes: list[str] = []
    read = {split: data.clips(corpus, split) for split in SPLITS}
    # Named by what was read, too: a clip that has become unreadable must not shift the others' labels.
    named = [[clips.labels.tolist(), clips.speakers] for clips in read.values()]
    shards = corpus.parent / f"clips-{digest([data.limit, plain(recipe.codec), named])}"
    statistics = _kept(shards / "statistics.safetensors", lambda: _statistics(codec, read["train"].waveforms))
    codec.load_state_dict(statistics)
    sets = {}
    for split in SPLITS:
        clips = read[split]
        pictures, labels = data.pictures(split)
        notes += [f"skipped {name}" for name in (*pictures.skipped, *clips.skipped)]
        x_0 = _encoded(shards, f"clips-{split}", len(clips), partial(encode_clips, codec, clips.waveforms), report)
        augmentation = data.augmentation if split == "train" else None
        if not hasattr(conditioner, "preprocess"):  # it reads the class, not the picture
            sets[split] = PairedSamples(x_0, clips.labels, labels, labels)
            continue
        # Named by what they show: files that were changed, added or moved are fitted anew.
        shown = digest([plain(recipe.conditioner), [content(image) for image in pictures.images]])
        fit = partial(fit_pictures, conditioner, pictures.images)
        raw = _encoded(corpus.parent / f"pictures-{shown}", f"pictures-{split}", len(pictures), fit, report)
        sets[split] = PairedSamples(x_0, clips.labels, raw, labels, augmentation)
    notes += repeated_targets(sets["train"])
    for note in notes:
        logger.warning(note)
    return Prepared(sets["train"], sets["test"], statistics, data.class_names, tuple(notes))


def build_corpus(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder of the recipe's spoken corpus, built where it is missing."""
    folder = folder or default_folder(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with --out") from None
    report = progress or (lambda *_: None)
    recipe.data().build(folder / "corpus", lambda done, total: report("speaking", done, total))
    return folder / "corpus"


def encode_clips(codec: Any, waveforms: Tensor, part: slice) -> Tensor:
    """x_0 of some of the int16 waveforms (n, S), in half precision, which is finer than 16-bit sound needs."""
    return codec.encode(as_float(waveforms[part])).half()


def fit_pictures(conditioner: Any, images: list[Image.Image], part: slice) -> Tensor:
    """Some of the pictures as the conditioner reads them, (n, C, H, W) uint8."""
    return conditioner.preprocess(images[part])


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for this recipe's corpus."""
    return hub.cache_folder() / "prepared" / f"{recipe.name.removesuffix('-debug')}-{corpus_key(recipe)}"


def corpus_key(recipe: Recipe) -> str:
    """A name for what decides the sound of the corpus."""
    ignored = ("sources", "augmentation", "limit")
    voices = {split: [voice.name for voice in group] for split, group in split_voices().items()}
    return digest([voices, {k: v for k, v in plain(recipe.data).items() if k not in ignored}])


def digest(settings: Any) -> str:
    """A short name for plain values."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()


def repeated_targets(samples: PairedSamples) -> list[str]:
    """A note in plain words where the clips are too few for a model to need the picture (DESIGN law 9)."""
    num_distinct = len({hash(x_0.numpy().tobytes()) for x_0 in samples.x_0})
    num_classes = len(samples.clip_labels.unique())
    if num_distinct >= FEW_TARGETS * num_classes:
        return []
    return [
        f"{len(samples)} pictures share {num_distinct} different clips of {num_classes} classes: a model can learn "
        "them by heart and ignore the picture; add voices or takes (data.takes)"
    ]


def as_float(waveforms: Tensor) -> Tensor:
    """int16 samples as float in [-1, 1]."""
    return waveforms.float() / 32768


def _statistics(codec: Any, waveforms: Tensor) -> dict[str, Tensor]:
    codec.fit([as_float(part) for part in waveforms.split(SHARD)])
    return {name: value.clone() for name, value in codec.state_dict().items()}


def _encoded(folder: Path, name: str, num: int, encode: Callable[[slice], Tensor], report: Progress) -> Tensor:
    """All of `num` items through `encode`, a shard at a time, each kept on disk."""
    parts = []
    for first in range(0, num, SHARD):
        part = slice(first, min(first + SHARD, num))
        path = folder / f"{name}-{first // SHARD:05d}.safetensors"
        parts.append(_kept(path, partial(_named_values, encode, part))["values"])
        report(name, part.stop, num)
    if not parts:
        raise InputError(f"{folder}: no {name.replace('-', ' of split ')}; add some")
    return torch.cat(parts)


def _named_values(encode: Callable[[slice], Tensor], part: slice) -> dict[str, Tensor]:
    return {"values": encode(part)}


def _kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in a file, made and written (beside, then renamed) where it is missing or damaged."""
    if path.is_file():
        try:
            return load_file(path)
        except (SafetensorError, OSError):
            logger.info("%s: damaged, made again", path)
    tensors = make()
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, unfinished)
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error}); free some space and run again") from None
    return tensors
