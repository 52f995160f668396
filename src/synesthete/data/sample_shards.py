"""Pictures and sounds as others pack them: WebDataset tars, Parquet files, and folders that HF `datasets` saved."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from synesthete.config.build import shorten
from synesthete.data.archives import DAMAGES, check_end
from synesthete.data.files import SOUNDS, is_hidden, is_number, is_text, legible, list_files, read_slice, split_of
from synesthete.data.found_pairs import AudioEntry, FoundPairs, ImageEntry
from synesthete.data.hub_pictures import FEATURES, class_names, in_one_line, name_values, open_parquet, read_group
from synesthete.data.picture import SUFFIXES, PictureBytes
from synesthete.data.pictures import PictureSource
from synesthete.data.sound_file import SoundFile
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    import numpy as np

    from synesthete.data.recordings import Recording
    from synesthete.types import Progress

TAR, PARQUET, ARROW = ".tar", ".parquet", ".arrow"
KINDS = (TAR, PARQUET, ARROW)
# What members and columns are called that tell of a sample, the likelier first.
NAMES = {
    "image": ("image", "img", "picture"),
    "audio": ("audio", "sound"),
    "label": ("cls", "class", "label", "class_name"),
    "text": ("txt", "text", "caption"),
    "speaker": ("spk", "speaker", "speaker_id"),
}
TOLD = ("label", "text", "speaker")
MOST = 2**20  # bytes of a member that is text


@dataclass(frozen=True, slots=True)
class RecordingBytes:
    """An encoded sound inside another file. read, stored: as of `PictureBytes`."""

    name: str
    place: str
    stored: str
    read: Callable[[], bytes]

    def stamp(self) -> str:
        """That of the file that holds it, and the place in it."""
        return self.stored

    def content(self) -> str:
        """A hash of the encoded sound."""
        return digest(self.read(), size=12)

    @property
    def sample_rate(self) -> int:
        """As it says."""
        with SoundFile(self.name, self.read()) as file:
            return file.sample_rate

    def num_samples(self) -> int:
        """What can be decoded, found by doing so."""
        with SoundFile(self.name, self.read()) as file:
            return file.num_samples()

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples (n, C) float32, block by block."""
        with SoundFile(self.name, self.read()) as file:
            yield from file.blocks()


class Encoded(NamedTuple):
    """An encoded picture or sound: what tells its place in the file, how it is called there, and how it is read."""

    stamp: str
    name: str
    read: Callable[[], bytes]


@dataclass
class Sample:
    """What belongs together: key: its name in the source; told: label, text and speaker, as far as they are told."""

    key: str
    parts: dict[str, Encoded] = field(default_factory=dict)
    told: dict[str, str | None] = field(default_factory=dict)


class SampleShards(PictureSource):
    """WebDataset tars, Parquet files, or a folder that `datasets` saved to disk: pictures, sounds, or pairs of both.

    Members of a tar are `KEY.jpg`, `KEY.wav`, `KEY.cls`, `KEY.txt`, `KEY.json` (an object) and the like; columns of
    Parquet and Arrow are Hugging Face's Image and Audio ({bytes, path}), or of bytes. The picture and the sound of a
    sample belong together. Files and folders that are named as splits are (`data-train-0003.tar`, `test/`), are these.
    Nothing is unpacked: what is encoded is read where it lies, when it is needed.

    Args:
        path: a file, or a folder of them. None gives nothing.
        image, audio, label, text, speaker: what the member's ending or the column is called; also a key of a tar's
            `json`. None: the first of the usual ones.
        names: other names for the classes, old to new, such as of the numbers in `cls`.
        num_test: pictures held out where no file is of a test split; None holds out a tenth.
    """

    def __init__(
        self,
        path: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        label: str | None = None,
        text: str | None = None,
        speaker: str | None = None,
        names: dict[str, str] | None = None,
        num_test: int | None = None,
    ) -> None:
        self.path, self.names, self.num_test = path, names or {}, num_test
        given = {"image": image, "audio": audio, "label": label, "text": text, "speaker": speaker}
        self.image, self.audio, self.label, self.text, self.speaker = given.values()
        self._called = {what: (name,) if name else NAMES[what] for what, name in given.items()}

    def listing(self) -> FoundPairs:
        """Every picture and sound of a class, in order of the files.

        Raises:
            InputError: no such files, a damaged one, or no sample with a class.
        """
        found, num_without = FoundPairs(), 0
        for split, sample in self._samples():
            label = self.names.get(sample.told.get("label") or "", sample.told.get("label"))
            if label is None:
                num_without += 1
                continue
            picture, sound = sample.parts.get("image"), sample.parts.get("audio")
            if picture:
                shown = PictureBytes(picture.name, picture.stamp, picture.read)
                found.pictures.append(ImageEntry(shown, label, sample.key, split, sample.told.get("text")))
            if sound:
                heard = recording_of(sample, label)
                found.sounds.append(AudioEntry(heard, label, sample.key, sample.told.get("speaker"), split))
            if picture and sound:
                found.pairs.append((len(found.pictures) - 1, len(found.sounds) - 1))
        if self.path and not found.pictures and not found.sounds:
            called = " or ".join(map(repr, self._called["label"]))
            raise InputError(
                f"{self.path}: no picture and no sound that {called} tells a class of; set label to what does"
            )
        if num_without:
            found.notes.append(f"{self.path}: {num_without} samples without a class left out")
        return found

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """As `listing`."""
        found = self.listing()
        told = {entry.split for entry in found.pictures} | {entry.split for entry in found.sounds}
        if told == {"train"}:  # some of each class are held out
            found.pictures = [entry._replace(split=None) for entry in found.pictures]
            found.sounds = [entry._replace(split=None) for entry in found.sounds]
        return found

    def recordings(self) -> list[Recording]:
        """Every sound, with or without a class; those of a class are placed in a folder of its name.

        Raises:
            InputError: no such files, a damaged one, or no sound in them.
        """
        found: list[Recording] = []
        for _, sample in self._samples():
            label = sample.told.get("label")
            if "audio" in sample.parts:
                found.append(recording_of(sample, self.names.get(label or "", label)))
        if self.path and not found:
            raise InputError(f"{self.path}: no sound in it; set audio to what holds them")
        return found

    def kinds(self) -> set[str]:
        """Which of "image" and "audio" there are in the samples, with a class or without.

        Raises:
            InputError: no such files, or a damaged one.
        """
        return {kind for _, sample in self._samples() for kind in sample.parts}

    def _samples(self) -> Iterator[tuple[str | None, Sample]]:
        if self.path is None:
            return
        root = Path(self.path)
        if not root.exists():
            raise InputError(f"{root}: no such file or folder; give tars, Parquet files, or what `datasets` saved")
        files = list_shards(root)
        if not files:
            raise InputError(f"{root}: no tar, Parquet or Arrow file ({', '.join(KINDS)}); unpack what is compressed")
        for file in files:
            place = file.name if file == root else file.relative_to(root).as_posix()
            split = next((split for part in re.split(r"[-_./]", place) if (split := split_of(part))), None)
            read = read_tar if file.suffix.lower() == TAR else read_columns
            for sample in read(file, self._called):
                sample.key = f"{place}/{sample.key}"
                yield split, sample


def list_shards(path: Path) -> list[Path]:
    """The files that `SampleShards` reads: one, or those in a folder, without what `datasets` computed of them."""
    found = [path] if path.is_file() else list_files(path, KINDS) if path.is_dir() else []
    return [file for file in found if file.suffix.lower() in KINDS and not file.name.startswith("cache-")]


def holds_shards(path: Path) -> bool:
    """Whether there are such files, and no pictures or sounds in files of their own."""
    return bool(list_shards(path)) and not (path.is_dir() and list_files(path, (*SUFFIXES, *SOUNDS)))


def recording_of(sample: Sample, label: str | None) -> RecordingBytes:
    """The sound of a sample, right below the folder that stands for its class; without one in no folder."""
    sound, place = sample.parts["audio"], sample.key.replace("/", " ")
    return RecordingBytes(sound.name, f"{label}/{place}" if label else place, sound.stamp, sound.read)


def read_tar(file: Path, called: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
    """The samples of a WebDataset tar: members that follow each other and are called alike up to the first dot.

    Raises:
        InputError: not a whole tar, or a member of text that is none.
    """
    changed = file.stat().st_mtime_ns
    sample, told = Sample(""), dict[str, Any]()
    try:
        with tarfile.open(file, "r:") as tar:
            while (member := tar.next()) is not None:
                path = PurePosixPath(member.name)
                tar.members.clear()  # type: ignore[attr-defined]  # else every header is kept, a kilobyte each
                if not member.isfile() or any(map(is_hidden, path.parts)):
                    continue
                stem, _, ending = path.name.partition(".")
                key = legible(str(path.with_name(stem)))
                if key != sample.key:
                    yield from with_told(sample, told, called)
                    sample, told = Sample(key), {}
                name, ending = legible(f"{file}/{member.name}"), ending.lower()
                if what := part_of(ending, called):
                    read = partial(read_slice, str(file), changed, member.offset_data, member.size)
                    stored = f"{file} {changed} {member.offset_data} {member.size}"
                    sample.parts.setdefault(what, Encoded(stored, name, read))
                elif ending == "json" or any(ending in called[what] for what in TOLD):
                    content: IO[bytes] | None = tar.extractfile(member)
                    told |= read_text_member(content.read(MOST + 1) if content else b"", ending, name)
            check_end(tar, file)
    except DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file}: not a whole tar ({reason}); copy it again, or leave it out") from None
    yield from with_told(sample, told, called)


def part_of(ending: str, called: Mapping[str, tuple[str, ...]]) -> str | None:
    """What a member is by its ending: "image", "audio", or neither."""
    suffix = f".{ending.rpartition('.')[2]}"
    for what, suffixes in (("image", SUFFIXES), ("audio", SOUNDS)):
        if ending in called[what] or (called[what] == NAMES[what] and suffix in suffixes):
            return what
    return None


def read_text_member(content: bytes, ending: str, name: str) -> dict[str, Any]:
    """What a member of text tells: of `json` its keys, of another itself.

    Raises:
        InputError: it is none.
    """
    try:
        if len(content) > MOST:
            raise ValueError(f"more than {MOST} bytes")
        text = content.decode().strip()
        return dict(json.loads(text)) if ending == "json" else {ending: text}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: no {'object' if ending == 'json' else 'text'} ({error}); mend it") from None


def with_told(sample: Sample, told: Mapping[str, Any], called: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
    """The sample with what is told of it, if there is anything to see or to hear."""
    if sample.parts:
        for what in TOLD:
            value = next((told[name] for name in called[what] if told.get(name) is not None), None)
            known = is_text(value) or (is_number(value) and what != "text")
            if value is not None and not known:
                raise InputError(f"{sample.parts.popitem()[1].name}: {what} {shorten(value)} is no text; mend it")
            sample.told[what] = (str(value).strip() or None) if value is not None else None
        yield sample


def read_columns(file: Path, called: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
    """The rows of a Parquet or Arrow file; encoded pictures and sounds are not read.

    Raises:
        InputError: a damaged file, or one without a column of pictures or sounds.
    """
    changed = file.stat().st_mtime_ns
    is_parquet = file.suffix.lower() == PARQUET
    opened = open_parquet(file) if is_parquet else open_arrow(str(file), changed)
    schema = opened.schema_arrow if is_parquet else opened.schema
    columns = {what: column for what in called if (column := find_column(schema, what, called[what], file))}
    encoded = {what: column for what, column in columns.items() if what not in TOLD}
    if not encoded:
        there = ", ".join(map(repr, schema.names))
        raise InputError(f"{file}: no column of pictures or sounds; set image or audio to one of {there}")
    sizes = (
        [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)] if is_parquet else [len(opened)]
    )
    told: dict[str, list[str | None]] = {}
    with in_one_line(file):
        for what in TOLD:
            if column := columns.get(what):
                table = opened.read(columns=[column]) if is_parquet else opened
                names = class_names(schema.metadata or {}, column)
                told[what] = name_values(table[column].to_pylist(), names, file, what)
    number = 0
    for group, size in enumerate(sizes):
        for row in range(size):
            parts = {
                what: Encoded(
                    f"{file} {changed} {group} {row} {column}",
                    f"{file}/{number}" if len(encoded) == 1 else f"{file}/{number}/{column}",
                    partial(read_cell, str(file), changed, group, row, column),
                )
                for what, column in encoded.items()
            }
            yield Sample(str(number), parts, {what: values[number] for what, values in told.items()})
            number += 1


def find_column(schema: Any, what: str, names: tuple[str, ...], file: Path) -> str | None:
    """The column of pictures, sounds, classes, ...: by name, or by what Hugging Face's metadata say that it is.

    Raises:
        InputError: it is named, and not there or of another kind.
    """
    is_given = names != NAMES[what]
    kind = None if is_given else {"image": "Image", "audio": "Audio", "label": "ClassLabel"}.get(what)
    try:
        features = dict(json.loads((schema.metadata or {})[FEATURES])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        features = {}
    typed = [name for name, told in features.items() if kind and isinstance(told, dict) and told.get("_type") == kind]
    fitting = [name for name in (*names, *typed) if name in schema.names]
    if what not in TOLD:
        fitting = [name for name in fitting if "binary" in str(schema.field(name).type)]
    if is_given and not fitting:
        there = ", ".join(f"{name!r}" for name in schema.names)
        raise InputError(f"{file}: {names[0]!r} is no column of {what}; set {what} to one of {there}")
    return fitting[0] if fitting else None


def read_cell(file: str, changed: int, group: int, row: int, column: str) -> bytes:
    """An encoded picture or sound; of a Parquet file its group is read as a whole and kept for the next.

    Raises:
        InputError: a damaged file, or a row that names a file instead of holding it.
    """
    if file.lower().endswith(PARQUET):
        value: Any = read_group(file, changed, group, column)[row]
    else:
        with in_one_line(Path(file)):
            value = open_arrow(file, changed)[column][row].as_py()
            value = value.get("bytes") if isinstance(value, dict) else value
    if not value:
        raise InputError(f"{file}: row {row} of {column!r} holds no bytes; save it with its files embedded")
    return bytes(value)


@lru_cache(maxsize=16)
def open_arrow(file: str, changed: int) -> Any:
    """The table of an Arrow file, as `datasets` writes it, mapped into memory.

    Raises:
        InputError: a damaged file.
    """
    import pyarrow

    with in_one_line(Path(file), "no Arrow file as `datasets` saves it"):
        mapped = pyarrow.memory_map(file)
        try:
            return pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            return pyarrow.ipc.open_file(mapped).read_all()
