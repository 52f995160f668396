"""Whether the parts of a recipe can be made and fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.diffusion.sampling import check_sampling
from synesthete.nn.part import Undrawn
from synesthete.recipes.hearing_fit import check_hearing
from synesthete.training.trainable_parameters import check_trainable, groups_of
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.config import Recipe

# What each part of a recipe is asked for.
CONTRACTS = {
    "codec": ("encode", "decode", "shape"),
    "conditioner": ("encode", "null"),
    "denoiser": ("forward", "precompute"),
    "process": ("add_noise", "convert"),
}

# What the data of a task list; of one from outside, the task itself says what it cannot use.
DATA: dict[str, tuple[str, ...]] = {
    "images": ("pictures",),
    "image-to-speech": ("pictures", "clips"),
    "music": ("recordings",),
    "audio-to-image": ("pairs",),
}


def check_fit(recipe: Recipe) -> None:
    """Make sure that the parts can be made and fit each other, before anything is spoken or trained.

    Raises:
        InputError: a class in the wrong place, or fields that have to agree and do not, and what to set.
    """
    for part, needed in (CONTRACTS | {"data": DATA.get(recipe.task, ())}).items():
        target = getattr(recipe, part).target
        lacking = [name for name in needed if not hasattr(target, name)]
        if lacking:
            raise InputError(f"recipe {recipe.name}: {target.__name__} cannot be its {part}: it has no {lacking[0]}")
    check_hearing(recipe)
    check_lengths(recipe)
    check_widths(recipe)
    channels, *sides = build_on_meta(recipe, "codec", lambda codec: codec.shape)
    size = tuple(sides)
    check_spatial(recipe)
    if tuple(recipe.denoiser.sample_size) != size:
        raise InputError(
            f"recipe {recipe.name}: the codec makes x_0 of {size[0]} x {size[1]}, the denoiser expects "
            f"{' x '.join(map(str, recipe.denoiser.sample_size))}; --set denoiser.sample_size='{list(size)}'"
        )
    if recipe.denoiser.in_channels != channels:
        raise InputError(
            f"recipe {recipe.name}: the codec makes x_0 of {channels} channels, the denoiser expects "
            f"{recipe.denoiser.in_channels}; --set denoiser.in_channels={channels}"
        )
    for part in ("conditioner", "denoiser", "process"):
        build_on_meta(recipe, part)
    build_on_meta(recipe, "process", lambda process: check_sampling(vars(recipe.sampling), process))
    check_stages(recipe)


def check_stages(recipe: Recipe) -> None:
    """Make sure that the parts have what each stage trains, and the data the captions that it tells."""
    known = {name: [name] for name in ("codec", "conditioner", "denoiser")}
    for name, names in known.items():
        if hasattr(getattr(recipe, name).target, "groups"):
            names += [f"{name}.{group}" for group in build_on_meta(recipe, name, groups_of)]
    captions = recipe.data.fields.get("captions")
    captions = captions if isinstance(captions, tuple | list) else ()
    for stage in recipe.stages:
        check_trainable(stage, known)
        for caption in stage.captions or ():
            if caption not in captions:
                raise InputError(
                    f"recipe {recipe.name}, stage {stage.name}: caption {caption!r} is not among data.captions; add it "
                    "there, or take it out of the stage's"
                )


def check_lengths(recipe: Recipe) -> None:
    """Make sure that the codec takes clips as long as the data's, where these are clips."""
    long, room = (getattr(recipe, part).fields.get("num_samples", 0) for part in ("data", "codec"))
    if long > room:
        raise InputError(
            f"recipe {recipe.name}: clips of {long} samples, a codec of {room}; --set codec.num_samples={long}"
        )


def check_widths(recipe: Recipe) -> None:
    """Make sure that the denoiser reads what the conditioner says, as wide as it says it."""
    width = recipe.conditioner.fields.get("width")  # one that says nothing has none
    for field in ("condition_width", "pooled_width"):
        if field not in recipe.denoiser.fields:  # Stable Diffusion reads no pooled vector
            continue
        read = getattr(recipe.denoiser, field)
        if read == width or (read is None and field == "condition_width"):
            continue
        if width is None:
            raise InputError(
                f"recipe {recipe.name}: {recipe.conditioner.target.__name__} says nothing; --set denoiser.{field}=null"
            )
        raise InputError(
            f"recipe {recipe.name}: a condition {width} wide, denoiser.{field} is {read}; "
            f"--set denoiser.{field}={width}"
        )


def check_spatial(recipe: Recipe) -> None:
    """Make sure that what the conditioner lays beside x_0 has the channels that the denoiser reads, and x_0's grid."""
    told = build_on_meta(recipe, "conditioner", lambda made: made.spatial_shape)
    read, channels = recipe.denoiser.fields.get("spatial_channels"), told[0] if told else None
    if read != channels:
        target, says = recipe.denoiser.target, recipe.conditioner.target.__name__
        if not hasattr(recipe.denoiser, "spatial_channels"):
            raise InputError(f"recipe {recipe.name}: {says} lays channels beside x_0, {target.__name__} reads none")
        raise InputError(
            f"recipe {recipe.name}: {says} lays {channels or 'no'} channels beside x_0, the denoiser reads "
            f"{read or 'none'}; --set denoiser.spatial_channels={channels or 'null'}"
        )
    if not told:
        return
    size = tuple(build_on_meta(recipe, "codec", lambda codec: codec.shape)[1:])
    if tuple(told[1:]) != size:
        raise InputError(
            f"recipe {recipe.name}: the codec makes x_0 of {size[0]} x {size[1]}, the conditioner lays "
            f"{told[1]} x {told[2]} beside it; --set conditioner.num_bins={size[0]} "
            f"--set conditioner.num_frames={size[1]}, or --set conditioner.size='{list(size)}' for latents"
        )
    for field in ("sample_rate", "num_samples", "hop_length", "n_fft"):
        ours, theirs = (part.fields.get(field) for part in (recipe.conditioner, recipe.codec))
        if None not in (ours, theirs) and ours != theirs:
            raise InputError(
                f"recipe {recipe.name}: codec.{field} is {theirs}, conditioner.{field} {ours}; "
                f"--set conditioner.{field}={theirs}"
            )


def build_on_meta(recipe: Recipe, part: str, ask: Callable[[Any], Any] = lambda made: made) -> Any:
    """A part without memory for its weights, or what is asked of it.

    Raises:
        InputError: whatever keeps it from being made, in one line.
    """
    try:
        with torch.device("meta" if part in ("conditioner", "denoiser") else "cpu"), Undrawn():
            return ask(getattr(recipe, part)())
    except InputError as error:
        raise InputError(f"recipe {recipe.name}: {error}") from None
    except Exception as error:  # whatever a library says of a size that is none
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"recipe {recipe.name}: its {part} cannot be made ({reason}); check its fields") from None
