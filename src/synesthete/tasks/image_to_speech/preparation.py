"""Spoken pictures: the corpus spoken, its clips encoded and the pictures fitted, each once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from synesthete import hub
from synesthete.config import build, plain
from synesthete.data.files import SPLITS
from synesthete.data.image_speech_pairs import ImageSpeechPairs, ImageSpeechSamples
from synesthete.data.preprocessed import preprocess_images
from synesthete.data.rows import compute_rows
from synesthete.data.speech.clips import few_targets
from synesthete.data.speech.engines import split_voices
from synesthete.data.waveforms import as_float
from synesthete.io import alone, digest, load_or_compute
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.data.files import Split
    from synesthete.data.rows import Rows
    from synesthete.data.speech.corpus import Clips
    from synesthete.types import Progress

SHARD = 500
# Fields of the data that leave the name of a corpus as it was while they have their defaults.
ADDED = ("engine", "speeds", "semitones", "shares")

logger = logging.getLogger(__name__)


@alone(lambda recipe, folder=None, progress=None: folder or default_folder(recipe))
def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Build the corpus, measure the codec on it, encode every clip and fit every picture; what is there is kept.

    folder: for the corpus and the shards; a place in the cache, named by the settings, where None.
    progress(what, done, total) is called after every shard.

    Raises:
        InputError: whatever is wrong with the data, in one line.
    """
    data: ImageSpeechPairs = recipe.data()
    report = progress or (lambda *_: None)
    # Pictures first: a path that leads nowhere should not be found out after minutes of speaking.
    shown = prepare_pictures(recipe, data, folder, report)
    corpus = build_corpus(recipe, folder, progress)
    x_0, clips, statistics = prepare_clips(recipe, data, corpus, report)
    sets = {
        split: ImageSpeechSamples(
            x_0[split], clips[split].labels, shown[split].raw, shown[split].labels, shown[split].augmentation
        )
        for split in SPLITS
    }
    notes = repeated_targets(sets["train"], data.class_names)
    # A limit is there to overfit on purpose.
    if notes and data.limit is None and not data.allow_few_targets:
        raise InputError(f"{notes[0]}; to train all the same, --set data.allow_few_targets=true")
    skipped = [name for split in SPLITS for name in (*shown[split].skipped, *clips[split].skipped)]
    if skipped:
        notes.append(f"skipped {len(skipped)} unreadable files: {', '.join(skipped[:10])}")
    for note in notes:
        logger.warning(note)
    return Prepared(sets["train"], sets["test"], statistics, data.class_names, tuple(notes), tuple(skipped))


def prepare_clips(
    recipe: Recipe, data: ImageSpeechPairs, corpus: Path, report: Progress
) -> tuple[dict[Split, Rows], dict[Split, Clips], dict[str, Tensor]]:
    """x_0 of every clip and the clips themselves, by split, and the codec's statistics."""
    codec = recipe.codec()
    clips = {split: data.clips(corpus, split) for split in SPLITS}
    # Named by what was read, too: a clip that has become unreadable must not shift the others' labels.
    named = [[found.labels.tolist(), found.speakers] for found in clips.values()]
    shards = corpus.parent / f"clips-{digest([data.limit, plain(recipe.codec), named])}"
    statistics = load_or_compute(
        shards / "statistics.safetensors", lambda: _statistics(codec, clips["train"].waveforms)
    )
    codec.load_state_dict(statistics)
    x_0 = {
        split: _encoded(shards, f"clips-{split}", len(found), partial(encode_clips, codec, found.waveforms), report)
        for split, found in clips.items()
    }
    return x_0, clips, statistics


@dataclass
class SplitImages:
    """What the conditioner is shown of a split: raw (n, ...), labels (n,), and what was left out as unreadable."""

    raw: Rows | Tensor
    labels: Tensor
    augmentation: Any = None
    skipped: list[str] = field(default_factory=list)


def prepare_pictures(
    recipe: Recipe, data: ImageSpeechPairs, folder: Path | None, report: Progress
) -> dict[Split, SplitImages]:
    """The pictures of each split as the conditioner reads them, each read once; no training picture is a test picture.

    Where a conditioner has an `identity`, its `extract_features` never changes: where no augmentation changes the
    pictures, what it sees is kept in their place, in half precision. With augmentation the pixels are kept.

    Raises:
        InputError: a class without a readable training picture, and as `preprocess_images`.
    """
    conditioner = recipe.conditioner()
    listed = {split: data.pictures(split) for split in SPLITS}
    if conditioner.reads != "image":  # it reads the class, not the picture
        return {split: SplitImages(labels, labels) for split, (_, labels) in listed.items()}
    named = conditioner.identity() or plain(recipe.conditioner)
    looked_at = conditioner.has_fixed_features and data.augmentation is None
    # Beside the corpora where all is in the cache: what is spoken of a picture does not change what is seen.
    place = default_folder(recipe).parent if folder in (None, default_folder(recipe)) else folder
    place = place / f"pictures-{digest([type(conditioner).__name__, named, looked_at])}"
    fitted = {}
    for split, (pictures, _) in listed.items():
        name = f"pictures-{split}"
        fitted[split] = preprocess_images(
            pictures, conditioner, place, name, looked_at=looked_at, progress=partial(report, name)
        )
    fitted["train"] = fitted["train"].without(set(fitted["test"].contents))
    shown = {
        split: SplitImages(found.rows, listed[split][1][found.places], skipped=found.skipped)
        for split, found in fitted.items()
    }
    shown["train"].augmentation = data.augmentation
    kept = set(shown["train"].labels.tolist())
    for number, name in enumerate(data.class_names):
        if number not in kept:
            raise InputError(f"not one readable training picture of class {name!r}; mend some or take the class out")
    return shown


@alone(lambda recipe, folder=None, progress=None: folder or default_folder(recipe))
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


def encode_clips(codec: Any, waveforms: Tensor, places: Tensor) -> Tensor:
    """x_0 of some of the int16 waveforms (n, S), in half precision, which is finer than 16-bit sound needs."""
    return codec.encode(as_float(waveforms[places])).half()


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for this recipe's corpus."""
    return hub.cache_folder() / "prepared" / f"{recipe.name.removesuffix('-debug')}-{corpus_key(recipe)}"


def corpus_key(recipe: Recipe) -> str:
    """A name for what decides the sound of the corpus."""
    ignored = ("sources", "folder", "augmentation", "limit", "allow_few_targets")
    data, defaults = recipe.data(), plain(build(ImageSpeechPairs, sources=()))
    groups = data.engine.split_voices() if data.engine else split_voices()
    voices = {split: [voice.name for voice in group] for split, group in groups.items()}
    fields = plain(recipe.data) | {"class_names": list(data.class_names)}
    fields = {k: v for k, v in fields.items() if k not in ignored and (k not in ADDED or v != defaults[k])}
    # Not where the voices lie, but which they are.
    return digest([voices, fields | ({"engine": data.engine.identity()} if data.engine else {})])


def repeated_targets(samples: ImageSpeechSamples, class_names: Sequence[str] = ()) -> list[str]:
    """A note in plain words where the clips are too few for a model to need the picture (`plan.few_targets`)."""
    different: dict[str, set[int]] = {}
    for x_0, label in zip(samples.x_0, samples.clip_labels.tolist(), strict=True):
        different.setdefault(class_names[label] if class_names else str(label), set()).add(hash(x_0.numpy().tobytes()))
    reason = few_targets({name: len(found) for name, found in different.items()})
    return [f"{len(samples)} pictures share {reason}"] if reason else []


def _statistics(codec: Any, waveforms: Tensor) -> dict[str, Tensor]:
    codec.fit([as_float(part) for part in waveforms.split(SHARD)])
    return {name: value.clone() for name, value in codec.state_dict().items()}


def _encoded(folder: Path, name: str, num: int, encode: Callable[[Tensor], Tensor], report: Progress) -> Rows:
    """All of `num` items through `encode`, a shard at a time, each kept on disk."""
    if not num:
        raise InputError(f"{folder}: no {name.replace('-', ' of split ')}; add some")
    return compute_rows(
        num, SHARD, lambda number, _: folder / f"{name}-{number:05d}.safetensors", encode, partial(report, name)
    )
