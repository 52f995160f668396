"""Files, folders and manifests as the sources of data find them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
# Folders that name a split, and the split they are.
SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "test": "test", "val": "test", "validation": "test"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that is not in memory."""

    path: str

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def stamp(self) -> str:
        """Path, size and time of the last change; a file that is gone has a stamp, too."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return f"{self.path} gone"
        return f"{self.path} {status.st_size} {status.st_mtime_ns}"


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of some suffixes in a folder and below it, in order of name, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in order of name, without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def list_classes(folder: Path) -> list[tuple[Path, Split | None]]:
    """The class folders of a folder, each with its split.

    Where there is a folder `train` and one of `test`, `val` and `validation` that hold folders, the classes are in
    these; else in the folder itself, and have no split.
    """
    parents = [entry for entry in list_folders(folder) if entry.name in SPLIT_FOLDERS and list_folders(entry)]
    if len({SPLIT_FOLDERS[parent.name] for parent in parents}) < 2:
        return [(entry, None) for entry in list_folders(folder)]
    return [(entry, SPLIT_FOLDERS[parent.name]) for parent in parents for entry in list_folders(parent)]


# One JSON object a line, paths relative to its folder: the ImageFolder / AudioFolder convention.
MANIFEST_NAME = "metadata.jsonl"


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
    path = path if path.suffix == ".jsonl" else path / MANIFEST_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; give a folder that holds a {MANIFEST_NAME}, or class folders")
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
    path = Path(folder) / MANIFEST_NAME
    write_file(path, "".join(entry.to_json() + "\n" for entry in entries))
    return path


def some(names: Sequence[str], num: int = 5) -> str:
    """The first names of a list, for a note."""
    more = f" and {len(names) - num} more" if len(names) > num else ""
    return ", ".join(names[:num]) + more
