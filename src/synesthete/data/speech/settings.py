"""`corpus.json`: what a corpus was made with, so that a folder never holds clips of two kinds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "corpus.json"


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a corpus into its folder, or make sure that those there say the same.

    Raises:
        InputError: they say something else, or cannot be read or written.
    """
    path = folder / FILE_NAME
    if not path.exists():
        write_file(path, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError):
        raise InputError(f"{path}: not the settings of a corpus; remove {folder} or choose another folder") from None
    for key in sorted(settings.keys() | found.keys()):
        if settings.get(key) != found.get(key):
            raise InputError(
                f"{folder}: holds a corpus of other settings, {_difference(key, found.get(key), settings.get(key))}; "
                "choose another folder or remove this one"
            )


def _difference(key: str, found: Any, wanted: Any) -> str:
    """`takes 12 there, 6 asked for`; of a table or a list only the first parts that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        part = next(k for k in (*found, *wanted) if found.get(k) != wanted.get(k))
        return _difference(f"{key} of {part}", found.get(part), wanted.get(part))
    if isinstance(found, list) and isinstance(wanted, list) and len(found) > 3:
        return f"{key}: {len(found)} there, {len(wanted)} asked for, not the same ones"
    return f"{key} {json.dumps(found)} there, {json.dumps(wanted)} asked for"
