"""Settings that come back: every file that is made tells how, and fills the form again when it is dropped there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from synesthete.data.files import legible
from synesthete.data.sound_file import SoundFile
from synesthete.studio.forms import Field
from synesthete.tasks.model import ALSO
from synesthete.types import InputError

LARGEST = 2**20  # bytes of a file that is nothing but settings


def settings_told_by(path: Path) -> dict[str, str]:
    """What a file tells of how it was made, every value as text. path: .png, .wav, .flac or .json.

    Raises:
        InputError: it cannot be read, or tells nothing.
    """
    suffix, name = path.suffix.lower(), legible(path.name)
    try:
        if suffix == ".png":
            with Image.open(path, formats=["PNG"]) as picture:
                told: Mapping[str, Any] = {str(key): value for key, value in picture.info.items()}
        elif suffix in (".wav", ".flac"):
            with SoundFile(path) as sound:
                told = json.loads(sound.comment or "{}")
        else:
            told = json.loads(path.read_bytes()[:LARGEST])
        found = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    except (OSError, ValueError, AttributeError, TypeError, SyntaxError):  # whatever a damaged file makes them say
        found = {}
    if "model" not in found or "seed" not in found:
        raise InputError(f"{name}: does not tell how it was made; give a png, wav or json that was made here")
    return found


def fill_in(told: Mapping[str, str], asked: Sequence[Field]) -> tuple[dict[str, Any], list[str]]:
    """The values of widgets, by field, that a file tells, and the names of what no widget can show.

    Files that it was made of are none of them: only their names are told.
    """
    values: dict[str, Any] = {}
    fields = {field.name: field for field in asked}
    left = []
    for key, text in told.items():
        name = ALSO.get(key, key)
        if key == "number":
            values["num"] = float(text) + 1
        elif name in fields and not fields[name].file:
            try:
                values[name] = to_widget(fields[name], text)
            except (ValueError, TypeError):
                left.append(key)
        elif key not in ("model", "seed"):
            left.append(key)
    return values, left


def to_widget(field: Field, text: str) -> Any:
    """A value, told as text, as its widget shows it.

    Raises:
        ValueError or TypeError: of another kind.
    """
    if "float" in field.kind and field.kind != "float":  # several numbers
        return " ".join(f"{float(value):g}" for value in json.loads(text))
    if field.kind in ("int", "float"):
        return f"{float(text):g}" if field.may_be_empty else float(text)
    if field.kind == "bool":
        return bool(json.loads(text))
    return [text] if field.takes_several else text
