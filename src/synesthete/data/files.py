"""Files, folders and manifests as the sources of data find them."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from synesthete.config.build import shorten
from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    import os

__all__ = ["Split"]

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
# What folders and manifests call a split, in small letters, and the split it is.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    **dict.fromkeys(("test", "val", "validation", "valid", "dev", "testing", "eval"), "test"),
}
# What file systems, archives and notebooks put beside one's own files.
FOREIGN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that is not in memory."""

    path: str

    @property
    def name(self) -> str:
        """The path, for people."""
        return legible(self.path)

    def stamp(self) -> str:
        """Path, size and time of the last change; a file that is gone has a stamp, too."""
        try:
            status = Path(self.path).stat()
        except (OSError, ValueError):
            return f"{self.name} gone"
        return f"{self.name} {status.st_size} {status.st_mtime_ns}"


def legible(name: str) -> str:
    """The name of a file as text that can be written: one that is no UTF-8 is taken for Windows' Latin-1."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def split_of(name: str) -> Split | None:
    """The split that a name stands for, in any case."""
    return SPLIT_NAMES.get(name.strip().lower())


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is nobody's data."""
    return name.startswith(".") or name in FOREIGN


def list_files(folder: Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """The files of some suffixes (None: all) in a folder and below it, in order of name, without hidden ones.

    Links are followed, but not upwards. What is there twice by links is listed once; a link that leads nowhere is
    listed, so that whoever reads it says so.
    """
    found: list[Path] = []
    above = {folder.absolute(), *folder.absolute().parents, *folder.resolve().parents}
    seen: set[object] = {identity(path.stat()) for path in above}
    left = [folder]
    while left:
        for path in list_entries(left.pop()):
            try:
                status = path.stat()
            except OSError:
                found += [path] if suffixes is None or path.suffix.lower() in suffixes else []
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            wanted = stat.S_ISREG(status.st_mode) and (suffixes is None or path.suffix.lower() in suffixes)
            if (is_folder or wanted) and identity(status) not in seen:
                seen.add(identity(status))
                (left if is_folder else found).append(path)
    return sorted(found)


def identity(status: os.stat_result) -> object:
    """What is the same of two paths that lead to one file."""
    return status.st_dev, status.st_ino


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in order of name, without hidden ones."""
    return [entry for entry in list_entries(folder) if entry.is_dir()]


def list_entries(folder: Path) -> list[Path]:
    """All that is in a folder, in order of name, without what is hidden."""
    try:
        return sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); allow that, or give another") from None


@dataclass(frozen=True)
class ClassLayout:
    """Where the classes of a folder are.

    classes: their folders, each with its split. splits: the folders that hold them, where there are any. notes: what is
    left out.
    """

    classes: list[tuple[Path, Split | None]]
    splits: list[Path]
    notes: list[str]


def find_classes(folder: Path) -> ClassLayout:
    """The class folders of a folder.

    Where folders in it are named as splits are (`SPLIT_NAMES`, in any case) and hold folders, the classes are in these;
    else in the folder itself, and have no split. A folder that holds nothing but such a one stands for it.
    """
    folders = list_folders(folder)
    inside = {entry: list_folders(entry) for entry in folders}
    splits = {entry: split for entry in folders if inside[entry] and (split := split_of(entry.name))}
    if not splits:
        if len(folders) == 1 and any(split_of(own.name) and list_folders(own) for own in inside[folders[0]]):
            return find_classes(folders[0])
        if folders and all(split_of(entry.name) for entry in folders):
            raise InputError(f"{folders[0]}: a split without class folders; put its pictures into a folder a class")
        return ClassLayout([(entry, None) for entry in folders], [], [])
    others = [entry for entry in folders if entry not in splits]
    names = {own.name for entry in splits for own in inside[entry]}
    for entry in others:
        is_like = bool(names & {own.name for own in inside[entry]})
        if not split_of(entry.name) and (is_like or len(set(splits.values())) < 2):
            beside, known = next(iter(splits)).name, ", ".join(SPLIT_NAMES)
            raise InputError(f"{entry}: beside {beside}, but none of the splits {known}; rename it or move it away")
    notes = [f"{len(others)} folders without classes left out beside the splits: {others[0]}"] if others else []
    return ClassLayout([(own, split) for entry, split in splits.items() for own in inside[entry]], [*splits], notes)


# One JSON object a line, paths relative to its folder: the ImageFolder / AudioFolder convention.
MANIFEST_NAME = "metadata.jsonl"
MANIFESTS = (".jsonl", ".csv", ".parquet")
# What a `file_name` ends in that is a sound; any other is a picture.
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".wma")
# Splits that a line may name beside those of SPLIT_NAMES.
OTHER_SPLITS = ("classifier", "speakers")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a picture, a clip, or both, of one class.

    image, audio: paths relative to the manifest's folder. label: the class's name, written `class` in the file.
    rate in words per minute, pitch on the engine's own scale. speed: how many times faster than drawn without it, which
    rate includes; semitones: how much higher. Both None where a corpus does not vary them. split: train, classifier,
    test, speakers, or None.
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


def find_manifests(folder: Path) -> dict[Path, Split | None]:
    """The manifests of a folder, each with its split: its own, or else those in folders that are named as splits are.

    folder: or a manifest itself, of any name that ends as they do.
    """
    if folder.suffix in MANIFESTS and folder.is_file():
        return {folder: None}
    if not folder.is_dir():
        return {}
    if own := manifest_in(folder):
        return {own: None}
    splits = {entry: split for entry in list_folders(folder) if (split := split_of(entry.name))}
    return {own: split for entry, split in splits.items() if (own := manifest_in(entry))}


def manifest_in(folder: Path) -> Path | None:
    """The manifest that lies in a folder, the first of several kinds."""
    return next((path for kind in MANIFESTS if (path := folder / f"metadata{kind}").is_file()), None)


def read_manifest(folder: Path) -> list[Entry]:
    """Every line of a folder's manifests, in order; keys that this package does not know are ignored.

    A line is a JSON object of `metadata.jsonl`, or a row of `metadata.csv` or `metadata.parquet`. What Hugging Face's
    ImageFolder and AudioFolder call `file_name` and `label` is read as `image` or `audio`, and `class`.

    folder: or a manifest of any name that ends so.
    """
    path = Path(folder)
    manifests = find_manifests(path)
    if not manifests:
        path = path if path.suffix in MANIFESTS else path / MANIFEST_NAME
        raise InputError(f"{path}: no such manifest; give a folder that holds a {MANIFEST_NAME}, or class folders")
    entries = []
    for manifest, split in manifests.items():
        for number, values in read_lines(manifest):
            entry = to_entry(values, f"{manifest}:{number}", split)
            if split is not None:
                below = manifest.parent.name
                shown, heard = (own and f"{below}/{own}" for own in (entry.image, entry.audio))
                entry = replace(entry, image=shown, audio=heard)
            entries.append(entry)
    if not entries:
        raise InputError(f"{next(iter(manifests))}: empty; write one JSON object a line")
    return entries


def read_lines(manifest: Path) -> Iterator[tuple[int, object]]:
    """What each line of a manifest holds, with its number."""
    if manifest.suffix == ".parquet":
        from pyarrow import ArrowException, parquet  # most manifests are text

        try:
            yield from enumerate(parquet.read_table(manifest).to_pylist(), 1)
        except (ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{manifest}: no Parquet that can be read ({reason}); copy it again") from None
        return
    text = read_text(manifest)
    if manifest.suffix == ".csv":
        header = text.partition("\n")[0]
        rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count))
        try:
            for row in rows:
                yield rows.line_num, {str(k).strip(): v.strip() or None for k, v in row.items() if isinstance(v, str)}
        except csv.Error as error:
            raise InputError(f"{manifest}:{rows.line_num}: no row of a table ({error}); mend it") from None
        return
    # Not splitlines, which breaks a line at U+0085 and U+2028, and JSON leaves these as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip().lstrip("\ufeff"):  # a mark stands in the middle, too, where files were joined
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or what its byte order mark tells, with line breaks of one kind."""
    try:
        raw = path.read_bytes()
        encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
        text = raw.decode(encoding).lstrip("\ufeff")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a copy that can") from None
    except UnicodeDecodeError as error:
        number = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{number}: text that is not {error.encoding}; save it as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: holds zero bytes, as UTF-16 without a mark does; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def to_entry(values: object, where: str, split: str | None) -> Entry:
    """What a line of a manifest tells. where: the line, for people. split: that of its folder."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: not a JSON object with a 'class'; mend or remove the line")
    if not {"class", "label"} & values.keys():
        raise InputError(f"{where}: no 'class' or 'label' in it; add one, or remove the line")
    label = values.get("class", values.get("label"))
    if not is_text(label) or not label.strip():
        raise InputError(
            f"{where}: class {shorten(label)} is not the name of a class; give one as text, or remove the line"
        )
    told: dict[str, Any] = {key: values.get(key, values.get(f"{key}_file_name")) for key in ("image", "audio")}
    if isinstance(name := values.get("file_name"), str):
        told["audio" if PurePath(name).suffix.lower() in SOUNDS else "image"] = name
        split = split or split_of(next(iter(PurePath(name).parent.parts), ""))
    for key, value in told.items():
        if not stays_inside(value):
            raise InputError(f"{where}: {key} {shorten(value)} is no path below the manifest's folder")
    for key in ("text", "speaker"):
        value = values.get(key)
        if value is not None and not is_text(told.setdefault(key, str(value) if is_number(value) else value)):
            raise InputError(f"{where}: {key} {shorten(value)} is no text; mend or remove it")
    told |= {key: values[key] for key in ("rate", "pitch", "speed", "semitones") if is_number(values.get(key))}
    if (name := values.get("split")) is not None:
        split = split_of(str(name)) or (str(name).strip() if str(name).strip() in OTHER_SPLITS else None)
        if split is None:
            known = ", ".join((*SPLIT_NAMES, *OTHER_SPLITS))
            raise InputError(f"{where}: split {shorten(name)} is none of {known}; mend or remove it")
    return Entry(label.strip(), split=split, **told)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that can be written; JSON can hold half of a character."""
    return isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value)


def is_number(value: object) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def stays_inside(path: object) -> bool:
    """Whether a manifest's entry is absent, or a relative path that does not climb out of its folder."""
    if path is None:
        return True
    if not isinstance(path, str) or "\0" in path or re.search(r"[\ud800-\udc7f\udd00-\udfff]", path):
        return False
    return not PurePath(path).is_absolute() and ".." not in PurePath(path).parts


def write_manifest(folder: Path, entries: Iterable[Entry]) -> Path:
    """Write `folder/metadata.jsonl`, whole or not at all."""
    path = Path(folder) / MANIFEST_NAME
    write_file(path, "".join(entry.to_json() + "\n" for entry in entries))
    return path


def some(names: Sequence[str], num: int = 5) -> str:
    """The first names of a list, for a note."""
    more = f" and {len(names) - num} more" if len(names) > num else ""
    return ", ".join(names[:num]) + more
