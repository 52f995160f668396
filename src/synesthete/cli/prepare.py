"""`synesthete prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli.options import AsJson, Assignments, RecipeName, finish, progress_bar, say_skipped


def prepare(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(help="Folder for corpus and shards; a cache folder by default.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Read, fit and encode a recipe's data once, speech spoken first; run again, it goes on where it stopped.

    Examples: `synesthete prepare image-to-speech-digits`,
    `synesthete prepare image-to-speech-digits --out data/digits --set data.takes=20`
    """
    from synesthete.recipes import find_recipe
    from synesthete.tasks import task_of

    found = find_recipe(recipe, assignments or ())
    task = task_of(found)
    folder = out or task.default_folder(found)
    with progress_bar() as show:
        prepared = task.prepare(found, folder, lambda what, done, total: show(what, done, total, ""))
    skipped: dict[str, Any] = {
        "skipped": list(prepared.skipped),
        "num_skipped": len(prepared.skipped),
        "notes": list(prepared.notes),
    }
    values, text = task.describe_prepared(prepared)
    values = {"folder": str(folder), **values, **skipped}
    finish(as_json, values, f"{folder}: {text}" + say_skipped(prepared.skipped))
