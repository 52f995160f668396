"""What a shell completes names with. It is asked at every press of a key, so no library is loaded for it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from synesthete import hub

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLING = Path(__file__).parents[1] / "diffusion" / "sampling.py"


def beginning(names: Any, incomplete: str) -> list[str]:
    """The names that begin so; of several with commas between them, the last one is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if str(name).startswith(last)]


def recipe_names(incomplete: str) -> list[str]:
    """Names of recipes; files are completed by the shell."""
    from synesthete.recipes import RECIPES

    return beginning(RECIPES, incomplete)


def models(incomplete: str) -> list[str]:
    """Shipped models and finished runs below `runs`."""
    runs = sorted(str(path.parents[1]) for path in Path("runs").glob(f"*/model/{hub.MODEL_INDEX}"))
    return beginning([*hub.shipped_models(), *runs], incomplete)


def first_models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Models in the place of the first argument, where files may stand as well."""
    return [] if ctx.params.get("arguments") else models(incomplete)


def samplers(incomplete: str) -> list[str]:
    """The keys of the table in diffusion/sampling.py, read without importing it."""
    for node in ast.parse(SAMPLING.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SAMPLERS":
            return beginning([key.value for key in node.value.keys], incomplete)  # type: ignore[attr-defined]
    return []


def named_in_model(default: str, file: str, *path: str) -> Callable[..., list[str]]:
    """A completer of what a list in a file of the model names; `default` where no model is named."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        # Where the option lacks its value still, the arguments were left unread.
        named = [*ctx.args, ctx.params.get("model"), *(ctx.params.get("arguments") or ()), default]
        places = (p for one in filter(None, named) for p in (Path(one), Path(one) / "model", hub.SHIPPED / one))
        folder = next((place for place in places if (place / hub.MODEL_INDEX).is_file()), Path())
        try:
            found: Any = json.loads((folder / file).read_text(encoding="utf-8"))
            for key in path:
                found = found[key]
            return beginning([*found, "all"], incomplete)
        except (OSError, ValueError, LookupError, TypeError):  # it has none
            return []

    return complete


# The options of the commands that sample, and where a model says what they can be.
OF_A_MODEL = {
    "labels": (hub.MODEL_INDEX, "card", "class_names"),
    "voice": ("conditioner/config.json", "voices"),
    "instrument": ("conditioner/config.json", "instruments"),
}
BY_NAME = {"sampler": samplers, "upsampler": models, "player": models}


def completer(option: str, default: str = "") -> Callable[..., list[str]] | None:
    """What completes an option of a command that samples; None where nothing does. default: its model."""
    if option in OF_A_MODEL:
        return named_in_model(default, *OF_A_MODEL[option])
    return BY_NAME.get(option)
