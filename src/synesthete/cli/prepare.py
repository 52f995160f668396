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
    from synesthete import preparation
    from synesthete.recipes import find_recipe

    found = find_recipe(recipe, assignments or ())
    folder = out or preparation.default_folder(found)
    with progress_bar() as show:
        prepared = preparation.prepare(found, folder, lambda what, done, total: show(what, done, total, ""))
    skipped: dict[str, Any] = {
        "skipped": list(prepared.skipped),
        "num_skipped": len(prepared.skipped),
        "notes": list(prepared.notes),
    }
    if preparation.speaks(found):
        values: dict[str, Any] = {
            "train_pictures": len(prepared.train.pictures),
            "test_pictures": len(prepared.test.pictures),
            "train_clips": len(prepared.train.x_0),
            "test_clips": len(prepared.test.x_0),
        }
        text = (
            f"{folder}: {values['train_pictures']} pictures and {values['train_clips']} clips to train on, "
            f"{values['test_pictures']} and {values['test_clips']} held out (no picture and no voice in common)"
        )
    elif preparation.makes(found) == "music":
        values, told = {}, {}
        for part in ("train", "judge", "test"):
            pieces = getattr(prepared, part)
            values[f"{part}_pieces"] = len(pieces)
            values[f"{part}_recordings"] = pieces.num_recordings
            values[f"{part}_seconds"] = round(pieces.seconds, 1)
            told[part] = f"{len(pieces)} pieces ({pieces.num_recordings} recordings, {pieces.seconds:.0f} s)"
        text = (
            f"{folder}: {told['train']} to train on, {told['judge']} for the judge alone, {told['test']} held out "
            "(no recording in two of them)"
        )
    elif preparation.makes(found) == "audio-to-image":
        values, told = {"judge_pictures": len(prepared.judge)}, {}
        for part in ("train", "test", "speakers"):
            if (pairs := getattr(prepared, part)) is None:
                continue
            values[f"{part}_pictures"], values[f"{part}_sounds"] = len(pairs.pictures), len(pairs.sounds)
            values[f"{part}_speakers"] = pairs.num_speakers
            known = f" of {pairs.num_speakers} speakers" if pairs.num_speakers else ""
            told[part] = f"{len(pairs.pictures)} pictures and {len(pairs.sounds)} sounds{known}"
        unheard = f"; {told['speakers']} that are in no other" if "speakers" in told else ""
        text = (
            f"{folder}: {told['train']} to train on, {values['judge_pictures']} pictures for the judge alone, "
            f"{told['test']} held out (no file in two of them){unheard}"
        )
    else:
        values = {f"{part}_pictures": len(getattr(prepared, part)) for part in ("train", "judge", "test")}
        text = (
            f"{folder}: {values['train_pictures']} pictures to train on, {values['judge_pictures']} for the judge "
            f"alone, {values['test_pictures']} held out (no picture in two of them)"
        )
    values = {"folder": str(folder), **values, **skipped}
    finish(as_json, values, text + say_skipped(prepared.skipped))
