"""The experiments by name. A recipe is a function that returns a fresh `Recipe`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.config import Recipe
from synesthete.recipes.image_to_speech import image_to_speech_digits, image_to_speech_digits_debug
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RECIPES: dict[str, Callable[[], Recipe]] = {
    "image-to-speech-digits": image_to_speech_digits,
    "image-to-speech-digits-debug": image_to_speech_digits_debug,
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


def check_fit(recipe: Recipe) -> None:
    """Make sure that the parts fit each other, before anything is spoken or trained.

    Raises:
        InputError: two fields that have to agree and do not, and what to set.
    """
    num_samples = recipe.codec.num_samples
    if recipe.data.num_samples > num_samples:
        raise InputError(
            f"recipe {recipe.name}: clips of {recipe.data.num_samples} samples, a codec of {num_samples}; "
            f"--set codec.num_samples={recipe.data.num_samples}"
        )
    size = tuple(recipe.codec().shape[1:])
    if tuple(recipe.denoiser.sample_size) != size:
        raise InputError(
            f"recipe {recipe.name}: the codec makes x_0 of {size[0]} x {size[1]}, the denoiser expects "
            f"{' x '.join(map(str, recipe.denoiser.sample_size))}; --set denoiser.sample_size='{list(size)}'"
        )
    for field in ("condition_width", "pooled_width"):
        if getattr(recipe.denoiser, field) != recipe.conditioner.width:
            raise InputError(
                f"recipe {recipe.name}: a condition {recipe.conditioner.width} wide, denoiser.{field} is "
                f"{getattr(recipe.denoiser, field)}; --set denoiser.{field}={recipe.conditioner.width}"
            )
