"""`metadata.jsonl`: one JSON object a line, the ImageFolder / AudioFolder convention, paths relative to its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE_NAME = "metadata.jsonl"


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a picture, a clip, or both, of one class.

    image, audio: paths relative to the manifest's folder. label: the class's name, written `class` in the file.
    rate in words per minute, pitch on the engine's own scale. speed: how many times faster than drawn without it, which
    rate includes; semitones: how much higher. Both None where a corpus does not vary them. split: train, classifier,
    test, or None.
    """

    label: str
    image: str | None = None
    audio: str | None = None
    text: str | None = None
    speaker: str | None = None
    rate: int | None = None
    pitch: int | None = None
    speed: float | None = None
    semitones: float | None = None
    split: str | None = None

    def to_json(self) -> str:
        """The line without its line break; fields that are None are left out."""
        values = {("class" if k == "label" else k): v for k, v in asdict(self).items() if v is not None}
        return json.dumps(values, ensure_ascii=False)


def read_manifest(folder: Path) -> list[Entry]:
    """Every line of `folder/metadata.jsonl`, in order; keys that this package does not know are ignored.

    folder: or a manifest of any name that ends in .jsonl.

    Raises:
        InputError: no manifest, a line that is not a JSON object, or one without a class.
    """
    path = Path(folder)
    path = path if path.suffix == ".jsonl" else path / FILE_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; give a folder that holds a {FILE_NAME}, or class folders")
    known = {f.name for f in fields(Entry)}
    entries = []
    # Not splitlines, which breaks a line at U+0085 and U+2028, and JSON leaves these as they are.
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            label = values.pop("class")
        except (ValueError, AttributeError, KeyError, TypeError):
            raise InputError(f"{path}:{number}: not a JSON object with a 'class'; mend or remove the line") from None
        for key in ("image", "audio"):
            if not stays_inside(values.get(key)):
                raise InputError(f"{path}:{number}: {key} {values[key]!r} is no path below the manifest's folder")
        entries.append(Entry(label=str(label), **{k: v for k, v in values.items() if k in known - {"label"}}))
    if not entries:
        raise InputError(f"{path}: empty; write one JSON object a line")
    return entries


def stays_inside(path: object) -> bool:
    """Whether a manifest's entry is absent, or a relative path that does not climb out of its folder."""
    if path is None:
        return True
    return isinstance(path, str) and not PurePath(path).is_absolute() and ".." not in PurePath(path).parts


def write_manifest(folder: Path, entries: Iterable[Entry]) -> Path:
    """Write `folder/metadata.jsonl`, whole or not at all."""
    path = Path(folder) / FILE_NAME
    write_file(path, "".join(entry.to_json() + "\n" for entry in entries))
    return path
