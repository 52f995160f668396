"""Whether the parts of a recipe can be made and fit each other, and what a training asks of a machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from synesthete import hub
from synesthete.codecs.codec import Codec
from synesthete.conditioning.conditioner import Conditioner
from synesthete.conditioning.learned_encoders import TextTransformer
from synesthete.config import Recipe, find_class
from synesthete.config.build import Build
from synesthete.config.recipe import KEEP_CHECKPOINTS
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.captions import CLASS, names_in, spell
from synesthete.denoisers.denoiser import Denoiser
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import check_sampling
from synesthete.nn.part import Undrawn
from synesthete.objectives import Parts
from synesthete.training.optim import check_trainable, groups_of, set_trainable
from synesthete.types import InputError, first_line

KINDS: dict[str, type] = {"codec": Codec, "conditioner": Conditioner, "denoiser": Denoiser, "process": Process}
# The data of each task; what one from outside cannot use, it says itself.
DATA = {
    "images": "LabelledPictures",
    "image-to-speech": "ImageSpeechPairs",
    "music": "Music",
    "music-score": "ScoredSounds",
    "music-compose": "Scores",
    "audio-to-image": "AudioImagePairs",
}
HEARING = "AudioTextConditioner"


def check_fit(recipe: Recipe) -> None:
    """Make sure that the parts can be made and fit each other, before anything is spoken or trained."""
    for reason in chain(misplaced(recipe), unheard(recipe), other_widths(recipe)):
        raise InputError(f"recipe {recipe.name}: {reason}")
    shape, of_codec = build_on_meta(recipe, "codec", lambda codec: (codec.shape, [*groups_of(codec)]))
    beside, of_conditioner = build_on_meta(recipe, "conditioner", lambda made: (made.spatial_shape, [*groups_of(made)]))
    for reason in other_grids(recipe, shape, beside):
        raise InputError(f"recipe {recipe.name}: {reason}")
    build_on_meta(recipe, "process", lambda process: check_sampling(vars(recipe.sampling), process))
    of_denoiser = build_on_meta(recipe, "denoiser", groups_of)
    groups = {
        name: [name, *(f"{name}.{group}" for group in own)]
        for name, own in (("codec", of_codec), ("conditioner", of_conditioner), ("denoiser", of_denoiser))
    }
    captions = recipe.data.fields.get("captions")
    for stage in recipe.stages:
        check_trainable(stage, groups)
        for caption in stage.captions or ():
            if not isinstance(captions, tuple | list) or caption not in captions:
                raise InputError(
                    f"recipe {recipe.name}, stage {stage.name}: caption {caption!r} is not among data.captions; add it "
                    "there, or take it out of the stage's"
                )


def misplaced(recipe: Recipe) -> Iterator[str]:
    """Classes in the wrong place, and a codec without room for the clips of the data."""
    kinds: dict[str, Any] = dict(KINDS)
    if recipe.task in DATA:
        kinds["data"] = find_class(DATA[recipe.task])
    for part, kind in kinds.items():
        target = getattr(recipe, part).target
        if not issubclass(target, kind):
            yield f"{target.__name__} cannot be its {part}: it is no {kind.__name__}"
    long, room = (getattr(recipe, part).fields.get("num_samples", 0) for part in ("data", "codec"))
    if long > room:
        yield f"clips of {long} samples, a codec of {room}; --set codec.num_samples={long}"


def unheard(recipe: Recipe) -> Iterator[str]:
    """Whether sounds are told to a conditioner that hears, and heard by a denoiser that reads as many tokens."""
    told, heard = issubclass(recipe.data.target, AudioImagePairs), recipe.conditioner.target.reads == "audio_text"
    data, conditioner, denoiser = (
        getattr(recipe, part).target.__name__ for part in ("data", "conditioner", "denoiser")
    )
    if told and not heard:
        yield f"{data} tells sounds, {conditioner} hears none; --set conditioner='{{class: {HEARING}, ...}}'"
    if heard and not told:
        yield f"{conditioner} hears, {data} has no sounds; --set data='{{class: AudioImagePairs, ...}}'"
    read = recipe.denoiser.fields.get("num_sound_tokens")
    if not heard:
        if read is not None:
            yield (
                f"{denoiser} reads text and sound, {conditioner} tells none; "
                f"--set conditioner='{{class: {HEARING}, ...}}'"
            )
        return
    says, ear, seconds = recipe.conditioner.num_sound_tokens, recipe.conditioner.sound, recipe.data.seconds
    if read not in (None, says):
        yield (f"a sound is {says} tokens, denoiser.num_sound_tokens is {read}; --set denoiser.num_sound_tokens={says}")
    # An encoder of one length hears all of the sounds that it is told.
    hears = ear.fields.get("num_samples") if isinstance(ear, Build) and seconds is not None else None
    if hears is not None and (long := round(seconds * ear.sample_rate)) > hears:
        yield (
            f"sounds of {seconds:g} s are {long} samples at {ear.sample_rate} Hz, their encoder hears {hears}; "
            f"--set conditioner.sound.num_samples={long}"
        )
    yield from unread_captions(recipe)


def unread_captions(recipe: Recipe) -> Iterator[str]:
    """Whether a text encoder of the recipe's own knows just the captions that the data can become."""
    reader, templates, names = recipe.conditioner.text, recipe.data.captions, recipe.data.class_names or ()
    if not (isinstance(reader, Build) and reader.target is TextTransformer and templates):
        return
    if isinstance(templates, str):
        return
    if not names and (naming := [template for template in templates if CLASS in names_in(template)]):
        yield f"caption {naming[0]!r} names classes; give data.class_names as well"
    spelled, known = spell(templates, names), tuple(reader.captions)
    if known != spelled:
        other = next((text for text in (*spelled, *known) if (text in known) != (text in spelled)), None)
        how = "are in another order" if other is None else f"{'have' if other in known else 'lack'} {other!r}"
        yield (
            f"conditioner.text.captions {how}, unlike what data.captions and data.class_names spell; "
            f"--set conditioner.text.captions='{json.dumps(spelled, ensure_ascii=False)}'"
        )


def other_widths(recipe: Recipe) -> Iterator[str]:
    """Whether the denoiser reads what the conditioner says, as wide as it says it."""
    width = recipe.conditioner.fields.get("width")  # one that says nothing has none
    fields = recipe.denoiser.fields
    for field in ("condition_width", "pooled_width"):
        # Stable Diffusion reads no pooled vector.
        if field in fields and fields[field] != width and (fields[field] is not None or field == "pooled_width"):
            read = fields[field]
            if width is None:
                yield f"{recipe.conditioner.target.__name__} says nothing; --set denoiser.{field}=null"
            yield f"a condition {width} wide, denoiser.{field} is {read}; --set denoiser.{field}={width}"


def other_grids(recipe: Recipe, shape: tuple[int, ...], beside: tuple[int, ...] | None) -> Iterator[str]:
    """Whether x_0, what the conditioner lays beside it, and what the denoiser expects are of one grid.

    shape: (C, H, W) of x_0. beside: (C', H, W) of what is laid beside it, or None.
    """
    channels, *size = shape
    conditioner, denoiser = recipe.conditioner, recipe.denoiser
    says, lays, read = conditioner.target.__name__, beside and beside[0], denoiser.fields.get("spatial_channels")
    if lays and "spatial_channels" not in denoiser.fields:
        yield f"{says} lays channels beside x_0, {denoiser.target.__name__} reads none"
    if lays != read:
        yield (
            f"{says} lays {lays or 'no'} channels beside x_0, the denoiser reads {read or 'none'}; "
            f"--set denoiser.spatial_channels={lays or 'null'}"
        )
    made = f"the codec makes x_0 of {size[0]} x {size[1]}"
    if beside:
        if list(beside[1:]) != size:
            yield (
                f"{made}, the conditioner lays {beside[1]} x {beside[2]} beside it; "
                f"--set conditioner.num_bins={size[0]} --set conditioner.num_frames={size[1]}, "
                f"or --set conditioner.size='{size}' for latents"
            )
        for field in ("sample_rate", "num_samples", "hop_length", "n_fft"):
            ours, theirs = (part.fields.get(field) for part in (conditioner, recipe.codec))
            if None not in (ours, theirs) and ours != theirs:
                yield (f"codec.{field} is {theirs}, conditioner.{field} {ours}; --set conditioner.{field}={theirs}")
    if list(denoiser.sample_size) != size:
        expected = " x ".join(map(str, denoiser.sample_size))
        yield f"{made}, the denoiser expects {expected}; --set denoiser.sample_size='{size}'"
    if denoiser.in_channels != channels:
        yield (
            f"the codec makes x_0 of {channels} channels, the denoiser expects {denoiser.in_channels}; "
            f"--set denoiser.in_channels={channels}"
        )


def build_on_meta(recipe: Recipe, part: str, ask: Callable[[Any], Any] = lambda made: made) -> Any:
    """A part without memory for its weights, or what is asked of it."""
    try:
        with torch.device("meta" if part in ("conditioner", "denoiser") else "cpu"), Undrawn():
            return ask(getattr(recipe, part)())
    except InputError as error:
        raise InputError(f"recipe {recipe.name}: {error}") from None
    except Exception as error:  # whatever a library says of a size that is none
        reason = first_line(error)
        raise InputError(f"recipe {recipe.name}: its {part} cannot be made ({reason}); check its fields") from None


NUMBER = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes


@dataclass(frozen=True)
class StageNeeds:
    """num_trained: parameters that a stage moves. num_steps: optimiser steps.

    least_memory: bytes of all weights, and of gradients, AdamW's two moments and averages of those that are trained;
    what a step computes with, and frozen encoders that stand outside of a model, come to it.
    """

    name: str
    num_trained: int
    num_steps: int
    least_memory: int


@dataclass(frozen=True)
class Needs:
    """Of a whole training.

    downloads: published weights by id, in bytes; None where nobody has written it down. checkpoints: bytes of those
    that are kept of all stages. model: bytes of the finished one.
    """

    stages: tuple[StageNeeds, ...]
    downloads: Mapping[str, int | None]
    checkpoints: int
    model: int


def find_needs(recipe: Recipe) -> Needs:
    """What a recipe's training needs, from parts made without memory for their weights."""
    parts = Parts(*(build_on_meta(recipe, name) for name in ("codec", "conditioner", "denoiser", "process")))
    every = [p for module in parts.modules().values() for p in module.parameters()]
    num_weights = sum(p.numel() for p in every)
    stages = []
    for stage in recipe.stages:
        set_trainable(parts, stage)
        if stage.num_views:
            parts.conditioner.freeze()
        num_trained = sum(p.numel() for p in every if p.requires_grad)
        kept = 3 + (stage.ema_decay is not None)  # numbers beside each trained weight
        stages.append(StageNeeds(stage.name, num_trained, stage.num_steps, 4 * (num_weights + kept * num_trained)))
    named = json.dumps(recipe.to_dict())
    downloads = {name: hub.PRETRAINED[name].num_bytes for name in sorted(hub.PRETRAINED) if f'"{name}"' in named}
    codec = parts.codec.config
    if getattr(codec, "vocoder", None) == "auto":  # it is used where it is there, and never fetched
        downloads.pop(codec.vocos, None)
    # As in memory, but without gradients.
    checkpoints = KEEP_CHECKPOINTS * sum(stage.least_memory - 4 * stage.num_trained for stage in stages)
    return Needs(tuple(stages), downloads, checkpoints, NUMBER[recipe.weights] * num_weights)


def describe_needs(needs: Needs) -> list[str]:
    """Lines for people."""
    width = max(len(stage.name) for stage in needs.stages)
    lines = [f"  needs       {sum(stage.num_steps for stage in needs.stages):,} steps in all"]
    lines += [
        f"      {stage.name:<{width}}  {stage.num_steps:,} steps, {stage.num_trained:,} parameters trained, "
        f"{gigabytes(stage.least_memory)} of memory and what a step computes with (--cost)"
        for stage in needs.stages
    ]
    if needs.downloads:
        known = sum(size or 0 for size in needs.downloads.values())
        each = ", ".join(name + (f" {gigabytes(size)}" if size else "") for name, size in needs.downloads.items())
        lines.append(f"      disk: downloads of {gigabytes(known)} ({each})" if known else f"      downloads: {each}")
    lines.append(f"      disk: checkpoints {gigabytes(needs.checkpoints)}, the finished model {gigabytes(needs.model)}")
    return lines


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
