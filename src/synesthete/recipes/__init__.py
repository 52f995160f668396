"""The experiments by name. A recipe is a function that returns a fresh `Recipe`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from synesthete.config import Recipe
from synesthete.diffusion.sampling import make_scheduler
from synesthete.recipes.image_to_speech import image_to_speech_digits, image_to_speech_digits_debug
from synesthete.recipes.image_to_speech_full import (
    image_to_speech,
    image_to_speech_100,
    image_to_speech_100_debug,
    image_to_speech_debug,
    image_to_speech_large,
    image_to_speech_large_debug,
)
from synesthete.recipes.image_to_speech_small import (
    image_to_speech_photos,
    image_to_speech_photos_debug,
    image_to_speech_phrases,
    image_to_speech_phrases_debug,
)
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RECIPES: dict[str, Callable[[], Recipe]] = {
    "image-to-speech-digits": image_to_speech_digits,
    "image-to-speech-digits-debug": image_to_speech_digits_debug,
    "image-to-speech-photos": image_to_speech_photos,
    "image-to-speech-photos-debug": image_to_speech_photos_debug,
    "image-to-speech-phrases": image_to_speech_phrases,
    "image-to-speech-phrases-debug": image_to_speech_phrases_debug,
    "image-to-speech": image_to_speech,
    "image-to-speech-debug": image_to_speech_debug,
    "image-to-speech-large": image_to_speech_large,
    "image-to-speech-large-debug": image_to_speech_large_debug,
    "image-to-speech-100": image_to_speech_100,
    "image-to-speech-100-debug": image_to_speech_100_debug,
}


def find_recipe(name: str, assignments: Sequence[str] = ()) -> Recipe:
    """A recipe by its name, or from a YAML file, with `key=value` assignments applied in turn.

    Raises:
        InputError: no such recipe or file, or an assignment that does not fit.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif Path(name).suffix in (".yaml", ".yml"):
        recipe = Recipe.load(Path(name))
    elif (Path(name) / "recipe.yaml").is_file():
        recipe = Recipe.load(Path(name) / "recipe.yaml")
    else:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise InputError(f"no recipe {name!r}; {hint}")
    for assignment in assignments:
        recipe.set(assignment)
    check_fit(recipe)
    return recipe


# What each part of a recipe is asked for.
CONTRACTS = {
    "data": ("build", "clips", "pictures"),
    "codec": ("encode", "decode", "shape"),
    "conditioner": ("encode", "null"),
    "denoiser": ("forward", "precompute"),
    "process": ("add_noise", "convert"),
}


def check_fit(recipe: Recipe) -> None:
    """Make sure that the parts can be made and fit each other, before anything is spoken or trained.

    Raises:
        InputError: a class in the wrong place, or fields that have to agree and do not, and what to set.
    """
    for part, needed in CONTRACTS.items():
        target = getattr(recipe, part).target
        if lacking := [name for name in needed if not hasattr(target, name)]:
            raise InputError(f"recipe {recipe.name}: {target.__name__} cannot be its {part}: it has no {lacking[0]}")
    num_samples = recipe.codec.num_samples
    if recipe.data.num_samples > num_samples:
        raise InputError(
            f"recipe {recipe.name}: clips of {recipe.data.num_samples} samples, a codec of {num_samples}; "
            f"--set codec.num_samples={recipe.data.num_samples}"
        )
    for field in ("condition_width", "pooled_width"):
        if getattr(recipe.denoiser, field) != recipe.conditioner.width:
            raise InputError(
                f"recipe {recipe.name}: a condition {recipe.conditioner.width} wide, denoiser.{field} is "
                f"{getattr(recipe.denoiser, field)}; --set denoiser.{field}={recipe.conditioner.width}"
            )
    size = tuple(make_cheaply(recipe, "codec", lambda codec: codec.shape)[1:])
    if tuple(recipe.denoiser.sample_size) != size:
        raise InputError(
            f"recipe {recipe.name}: the codec makes x_0 of {size[0]} x {size[1]}, the denoiser expects "
            f"{' x '.join(map(str, recipe.denoiser.sample_size))}; --set denoiser.sample_size='{list(size)}'"
        )
    for part in ("conditioner", "denoiser", "process"):
        make_cheaply(recipe, part)
    walk = recipe.sampling
    make_cheaply(recipe, "process", lambda process: make_scheduler(walk.sampler, process, walk.timestep_shift))


def make_cheaply(recipe: Recipe, part: str, ask: Callable[[Any], Any] = lambda made: made) -> Any:
    """A part without memory for its weights, or what is asked of it.

    Raises:
        InputError: whatever keeps it from being made, in one line.
    """
    try:
        with torch.device("meta" if part in ("conditioner", "denoiser") else "cpu"):
            return ask(getattr(recipe, part)())
    except InputError as error:
        raise InputError(f"recipe {recipe.name}: {error}") from None
    except Exception as error:  # whatever a library says of a size that is none
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"recipe {recipe.name}: its {part} cannot be made ({reason}); check its fields") from None
