"""The experiments by name. A recipe is a function that returns a fresh `Recipe`."""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from synesthete.config import Recipe

# The module of each recipe: its function has the recipe's name with underscores, and its debug twin stands beside it.
MODULES = {
    "image-to-speech-digits": "image_to_speech",
    "image-to-speech-photos": "image_to_speech_small",
    "image-to-speech-phrases": "image_to_speech_small",
    "image-to-speech": "image_to_speech_full",
    "image-to-speech-large": "image_to_speech_full",
    "image-to-speech-100": "image_to_speech_full",
    "images-digits": "images",
    "images-photos": "images",
    "images-stl10": "images",
    "images-stl10-dit": "images",
    "images-stl10-latent": "images",
    "audio-to-image": "audio_to_image",
    "audio-to-image-digits": "audio_to_image_small",
    "audio-to-image-events": "audio_to_image_small",
    "music": "music",
    "music-notes": "music",
    "music-stft": "music",
    "music-latent": "music_latent",
    "music-low": "music_upsampler",
    "music-upsampler": "music_upsampler",
    "music-vocoder": "music_vocoder",
}


class Catalogue(MutableMapping[str, "Callable[[], Recipe]"]):
    """Recipes by name. One of the package is imported when it is asked for, not where names are listed."""

    def __init__(self) -> None:
        self._modules = {twin: module for name, module in MODULES.items() for twin in (name, f"{name}-debug")}
        self._own: dict[str, Callable[[], Recipe]] = {}

    def __getitem__(self, name: str) -> Callable[[], Recipe]:
        if name in self._own:
            return self._own[name]
        module = importlib.import_module(f"{__name__}.{self._modules[name]}")
        return getattr(module, name.replace("-", "_"))

    def __setitem__(self, name: str, make: Callable[[], Recipe]) -> None:
        self._own[name] = make

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._modules, *self._own]))

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._own

    def __len__(self) -> int:
        return len(list(iter(self)))

    def describe(self) -> dict[str, str]:
        """The first line of each recipe's docstring, read without importing the recipe."""
        found: dict[str, str] = {}
        for module in set(self._modules.values()):
            tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
            functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
            found |= {node.name.replace("_", "-"): ast.get_docstring(node) or "" for node in functions}
        found |= {name: make.__doc__ or "" for name, make in self._own.items()}
        return {name: found[name].strip().partition("\n")[0] for name in self}


RECIPES = Catalogue()


def find_recipe(name: str, assignments: Sequence[str] = ()) -> Recipe:
    """A recipe by its name, or from a YAML file, with `key=value` assignments applied in turn.

    Raises:
        InputError: no such recipe or file, or an assignment that does not fit.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else Path(name) / "recipe.yaml"
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif path.suffix == Path(name).suffix or path.is_file():
        from synesthete.config import Recipe

        recipe = Recipe.load(path)
    else:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise InputError(f"no recipe {name!r}; {hint}")
    for assignment in assignments:
        recipe.set(assignment)
    # Imported here: a wrong name is said without torch.
    from synesthete.recipes.fit import check_fit

    check_fit(recipe)
    return recipe
