"""The experiments by name. A recipe is a function that returns a fresh `Recipe`."""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from synesthete.config import Recipe
from synesthete.types import InputError

__all__ = ["RECIPES", "describe_recipes", "find_recipe", "make_recipe"]

# The recipes of each module: a function of the recipe's name with underscores. `debug` there makes one its debug twin.
MODULES = {
    "image_to_speech": (
        "image-to-speech-digits",
        "image-to-speech-voices",
        "image-to-speech-photos",
        "image-to-speech-phrases",
        "image-to-speech-100",
        "image-to-speech",
        "image-to-speech-large",
        "image-to-speech-imagenet-100",
    ),
    "images": (
        "images-digits",
        "images-emoji",
        "images-photos",
        "images-photos-64",
        "images-stl10",
        "images-stl10-dit",
        "images-stl10-latent",
    ),
    "audio_to_image": ("audio-to-image", "audio-to-image-digits", "audio-to-image-events"),
    "music": (
        "music",
        "music-notes",
        "music-stft",
        "music-latent",
        "music-low",
        "music-upsampler",
        "music-vocoder",
    ),
    "scores": ("music-compose", "music-score"),
}


def make_recipe(module: str, name: str) -> Recipe:
    """A recipe of the package, or its debug twin; its module is imported when it is asked for."""
    found = importlib.import_module(f"{__name__}.{module}")
    recipe = getattr(found, name.removesuffix("-debug").replace("-", "_"))()
    return found.debug(recipe) if name.endswith("-debug") else recipe


RECIPES: dict[str, Callable[[], Recipe]] = {
    twin: partial(make_recipe, module, twin)
    for module, names in MODULES.items()
    for name in names
    for twin in (name, f"{name}-debug")
}


def describe_recipes() -> dict[str, str]:
    """The first line of each recipe's docstring, read without importing the recipe."""
    described = {name: make.__doc__ or "" for name, make in RECIPES.items()}
    for module, names in MODULES.items():
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        told = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name in names:
            described |= {name: told[name.replace("-", "_")], f"{name}-debug": told["debug"]}
    return {name: text.strip().partition("\n")[0] for name, text in described.items()}


def find_recipe(name: str, assignments: Sequence[str] = (), stages: Sequence[str] | None = None) -> Recipe:
    """A recipe by its name, or from a YAML file, with `key=value` assignments applied in turn.

    stages: names of those to keep, None: all. `fast` among them is added to a recipe that has none.

    Raises:
        InputError: no such recipe, file or stage, or an assignment that does not fit.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else Path(name) / "recipe.yaml"
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif path.suffix == Path(name).suffix or path.is_file():
        recipe = Recipe.load(path)
    else:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise InputError(f"no recipe {name!r}; {hint}")
    if stages is not None and "fast" in stages:
        from synesthete.recipes.parts import add_fast

        add_fast(recipe)
    for assignment in assignments:
        recipe.set(assignment)
    if stages is not None:
        recipe.keep_stages(stages)
    # Imported here: a wrong name is said without torch.
    from synesthete.recipes.fit import check_fit

    check_fit(recipe)
    return recipe
