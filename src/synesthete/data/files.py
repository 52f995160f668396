"""Files and folders as the sources of data find them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

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
