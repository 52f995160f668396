"""Pictures and sounds as others pack them: WebDataset tars, Parquet files, and folders that HF `datasets` saved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.config.build import shorten
from synesthete.data.archives import walk_tar
from synesthete.data.files import SOUNDS, is_number, is_text, legible, list_files, split_of
from synesthete.data.found_pairs import AudioEntry, FoundPairs, ImageEntry
from synesthete.data.packed import ARROW, PARQUET, Packed, RecordingBytes, Slice, TableCell, TableFile
from synesthete.data.picture import SUFFIXES
from synesthete.data.pictures import PictureSource
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.recordings import Recording
    from synesthete.types import Progress

TAR = ".tar"
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
# What Hugging Face's metadata call the columns that are known by their kind.
FEATURES = {"image": "Image", "audio": "Audio", "label": "ClassLabel"}
MOST = 2**20  # bytes of a member that is text


@dataclass
class Sample:
    """What belongs together: key: its name in the source; told: label, text and speaker, as far as they are told."""

    key: str
    parts: dict[str, Packed] = field(default_factory=dict)
    told: dict[str, str | None] = field(default_factory=dict)

    def recording(self, label: str | None) -> RecordingBytes:
        """Its sound, right below the folder that stands for its class; without one in no folder."""
        sound, place = self.parts["audio"], self.key.replace("/", " ")
        return RecordingBytes(sound.name, f"{label}/{place}" if label else place, sound)


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
        """Every picture and sound of a class, in order of the files."""
        found, num_without = FoundPairs(), 0
        for split, label, sample in self._samples():
            if label is None:
                num_without += 1
                continue
            if picture := sample.parts.get("image"):
                found.pictures.append(ImageEntry(picture, label, sample.key, split, sample.told.get("text")))
            if "audio" in sample.parts:
                heard = sample.recording(label)
                found.sounds.append(AudioEntry(heard, label, sample.key, sample.told.get("speaker"), split))
            if len(sample.parts) == 2:
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
        return self.listing().undecided()

    def recordings(self) -> list[Recording]:
        """Every sound, with or without a class; those of a class are placed in a folder of its name.

        Raises:
            InputError: no such files, a damaged one, or no sound in them.
        """
        found: list[Recording] = [
            sample.recording(label) for _, label, sample in self._samples() if "audio" in sample.parts
        ]
        if self.path and not found:
            raise InputError(f"{self.path}: no sound in it; set audio to what holds them")
        return found

    def kinds(self) -> set[str]:
        """Which of "image" and "audio" there are in the samples, with a class or without."""
        return {kind for *_, sample in self._samples() for kind in sample.parts}

    def _samples(self) -> Iterator[tuple[str | None, str | None, Sample]]:
        """The split, the class and the rest of each sample."""
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
                label = sample.told.get("label")
                yield split, self.names.get(label or "", label), sample


def list_shards(path: Path) -> list[Path]:
    """The files that `SampleShards` reads: one, or those in a folder, without what `datasets` computed of them."""
    found = [path] if path.is_file() else list_files(path, KINDS) if path.is_dir() else []
    return [file for file in found if file.suffix.lower() in KINDS and not file.name.startswith("cache-")]


def holds_shards(path: Path) -> bool:
    """Whether there are such files, and no pictures or sounds in files of their own."""
    return bool(list_shards(path)) and not (path.is_dir() and list_files(path, (*SUFFIXES, *SOUNDS)))


def read_tar(file: Path, called: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
    """The samples of a WebDataset tar: members that follow each other and are called alike up to the first dot."""
    changed = file.stat().st_mtime_ns
    with walk_tar(file) as members:
        for key, own in groupby(members, lambda one: legible(str(one[0].with_name(one[0].name.partition(".")[0])))):
            sample, told = Sample(key), dict[str, Any]()
            for path, member, content in own:
                name, ending = legible(f"{file}/{member.name}"), path.name.partition(".")[2].lower()
                if what := part_of(ending, called):
                    stored = f"{file} {changed} {member.offset_data} {member.size}"
                    part = Slice(name, stored, str(file), changed, member.offset_data, member.size)
                    sample.parts.setdefault(what, part)
                elif ending == "json" or any(ending in called[what] for what in TOLD):
                    told |= read_text_member(content.read(MOST + 1), ending, name)
            if sample.parts:
                sample.told = {what: told_of(sample, what, told, called[what]) for what in TOLD}
                yield sample


def part_of(ending: str, called: Mapping[str, tuple[str, ...]]) -> str | None:
    """What a member is by its ending: "image", "audio", or neither."""
    suffix = f".{ending.rpartition('.')[2]}"
    for what, suffixes in (("image", SUFFIXES), ("audio", SOUNDS)):
        if ending in called[what] or (called[what] == NAMES[what] and suffix in suffixes):
            return what
    return None


def read_text_member(content: bytes, ending: str, name: str) -> dict[str, Any]:
    """What a member of text tells: of `json` its keys, of another itself."""
    try:
        if len(content) > MOST:
            raise ValueError(f"more than {MOST} bytes")
        text = content.decode().strip()
        return dict(json.loads(text)) if ending == "json" else {ending: text}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: no {'object' if ending == 'json' else 'text'} ({error}); mend it") from None


def told_of(sample: Sample, what: str, told: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """What members of text tell of a sample's label, text or speaker."""
    value = next((told[name] for name in names if told.get(name) is not None), None)
    if value is not None and not is_text(value) and not (is_number(value) and what != "text"):
        raise InputError(f"{sample.parts.popitem()[1].name}: {what} {shorten(value)} is no text; mend it")
    return (str(value).strip() or None) if value is not None else None


def read_columns(file: Path, called: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
    """The rows of a Parquet or Arrow file; encoded pictures and sounds are not read."""
    table = TableFile(file)
    columns = {what: column for what in called if (column := find_column(table, what, called[what]))}
    encoded = {what: column for what, column in columns.items() if what not in TOLD}
    if not encoded:
        raise InputError(f"{file}: no column of pictures or sounds; set image or audio to one of {table.columns}")
    told = {what: table.labels(column, what) for what, column in columns.items() if what in TOLD}
    cells: dict[str, list[TableCell]] = {}
    for what, column in encoded.items():
        ending = f"/{column}" if len(encoded) > 1 else ""
        cells[what] = table.cells(column, [f"{row}{ending}" for row in range(table.num_rows)])
    for row in range(table.num_rows):
        yield Sample(
            str(row), {what: own[row] for what, own in cells.items()}, {what: own[row] for what, own in told.items()}
        )


def find_column(table: TableFile, what: str, names: tuple[str, ...]) -> str | None:
    """The column of pictures, sounds, classes, ...: by name, or by what Hugging Face's metadata say that it is."""
    if names != NAMES[what]:
        return table.checked(names[0], what, encoded=what not in TOLD)
    kinds = {name: told.get("_type") for name, told in table.features.items() if isinstance(told, dict)}
    typed = [name for name, kind in kinds.items() if kind and kind == FEATURES.get(what)]
    fitting = (name for name in (*names, *typed) if name in table.schema.names)
    return next((name for name in fitting if what in TOLD or table.holds_bytes(name)), None)
