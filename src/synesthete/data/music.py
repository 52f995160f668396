"""Recordings and the class that each may have, split by recording, and their pieces as samples."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.audio import as_float
from synesthete.data.files import legible, some
from synesthete.data.recordings import Recording, RecordingEntry, Recordings, divide_recordings, open_recordings
from synesthete.data.rows import Pieces, Rows
from synesthete.data.samples import ChangesSounds, RecordingSources, Samples, draw_view
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from synesthete.data.augmentation import AudioAugmentation
    from synesthete.data.labelled import Part

NO_RECORDINGS = "no recordings to train on; --set data.folder=FOLDER (wav, flac, ogg, mp3), or give a source its path"


@dataclass
class MusicListing:
    """Recordings in the order of their sources; a line for each that cannot be opened, and what else is to be said."""

    entries: list[RecordingEntry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Music:
    """Recordings of any length, split into those to train on, those for the classifier alone, and those held out.

    A recording is in one split with all of its pieces. Which one is drawn from its content, class by class, so that it
    stays there under another name and beside other recordings of no matter which class. The length of a piece and the
    sample rate are the codec's.

    Args:
        sources: where the recordings come from. folder: one's own folder, in place of the sources; where `classes` are
            asked for, they are then the folders within it.
        classes: class name -> globs on a recording's path within its source, of which the first class that fits is
            its own (`*` fits slashes; a recording that fits none is left out); "folders": the folder it is in; None:
            no classes.
        stride: seconds between the starts of pieces. silence_db: pieces quieter than this (RMS, full scale 0) are
            dropped. sounding: and those of which a smaller share than this is louder than that, such as a lone beat
            before silence.
        augmentation, num_views: a training piece is encoded `num_views` times: as it is, and augmented. One view
            leaves it as it is.
        limit: keep only so many pieces of each split, to overfit on purpose.
        test_share, classifier_share: of the seconds of each class.
    """

    sources: RecordingSources = ()
    folder: str | None = None
    classes: dict[str, tuple[str, ...]] | Literal["folders"] | None = None
    stride: float = 1.0
    silence_db: float = -60.0
    sounding: float = 0.0
    augmentation: ChangesSounds | None = None
    num_views: int = 1
    limit: int | None = None
    seed: int = 0
    test_share: float = 0.15
    classifier_share: float = 0.15

    def __post_init__(self) -> None:
        self.shares: dict[Part, float] = {"test": self.test_share, "classifier": self.classifier_share}
        shares = self.shares.values()
        if not self.stride > 0 or self.num_views < 1 or min(shares) < 0 or sum(shares) >= 1:
            raise InputError(
                f"data: stride {self.stride}, views {self.num_views}, shares {self.test_share} and "
                f"{self.classifier_share}; give a stride above 0 s, one view or more, and shares that leave something "
                "to train on"
            )
        if not 0 <= self.sounding <= 1:
            raise InputError(f"data.sounding {self.sounding}: give a share of a piece, from 0 to 1")
        if self.folder is not None:
            self.sources, self.classes = (Recordings(self.folder),), "folders" if self.classes else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers; none where `classes` is None.

        Raises:
            InputError: the sources cannot be read.
        """
        if isinstance(self.classes, dict):
            return tuple(self.classes)
        if self.classes is None:
            return ()
        folders = {self.class_of(recording) for recording in self._listed()}
        return tuple(sorted(name for name in folders if name))

    def recordings(self, split: Part) -> list[Recording]:
        """The recordings of a split, those that can be opened.

        Raises:
            InputError: no recordings, or a class without one to train on.
        """
        return [entry.recording for entry in self.listing.entries if entry.part == split]

    @cached_property
    def listing(self) -> MusicListing:
        """All splits at once: each recording is opened and hashed, none decoded.

        Raises:
            InputError: no recordings, none that can be opened, or a class without one to train on.
        """
        found, listing = self._listed(), MusicListing()
        if not found:
            raise InputError(NO_RECORDINGS)
        names = [self.class_of(recording) for recording in found]
        if left_out := [r.name for r, name in zip(found, names, strict=True) if name is None]:
            listing.notes.append(f"{len(left_out)} recordings of no class left out: {some(left_out)}")
        chosen = [(r, name) for r, name in zip(found, names, strict=True) if name is not None]
        opened = open_recordings([recording for recording, _ in chosen])
        listing.skipped = [reason for reason in opened if isinstance(reason, str)]
        copies: list[str] = []
        seen: dict[str, str] = {}
        for (recording, name), entry in zip(chosen, opened, strict=True):
            if isinstance(entry, str):
                continue
            if entry.content in seen:
                copies.append(f"{recording.name} = {seen[entry.content]}")
                continue
            seen[entry.content] = recording.name
            entry.label = self.class_names.index(str(name)) if self.class_names else 0
            listing.entries.append(entry)
        if copies:
            listing.notes.append(f"{len(copies)} copies of other recordings left out: {some(copies)}")
        for label, class_name in enumerate(self.class_names or ("",)):
            entries = [entry for entry in listing.entries if entry.label == label]
            if not entries:
                raise InputError(f"no recording of class {class_name!r}; mend its globs in data.classes or take it out")
            for entry, part in zip(entries, divide_recordings(entries, self.shares), strict=True):
                entry.part = part
        return listing

    def _listed(self) -> list[Recording]:
        return [recording for source in self.sources for recording in source.recordings()]

    def class_of(self, recording: Recording) -> str | None:
        """A recording's class, None where it has none of those asked for; "" where none are."""
        if self.classes is None:
            return ""
        if self.classes == "folders":
            parent = PurePosixPath(recording.place).parent.as_posix()
            return None if parent == "." else legible(parent)
        assert isinstance(self.classes, dict)
        fitting = (
            name for name, globs in self.classes.items() if any(fnmatch.fnmatchcase(recording.place, g) for g in globs)
        )
        return next(fitting, None)


@dataclass
class MusicSamples(Samples):
    """Pieces of recordings, in shards on disk or in memory, and what belongs to each.

    waveforms: (n, S) int16, sample / 32768 is the sound. labels: (n,) places among the classes, 0 where there are none.
    recordings: (n,), which of `recording_names` each is a piece of. x_0: (n, V, C, H, W), V views of each, where they
    were encoded beforehand, the first of the piece as it is. reads: what the conditioner reads: labels (B,), the
    sounds themselves (B, S), or `levels` (n,), their root mean squares in dB. sample_rate: in Hz; seed: of the
    augmented views.
    """

    waveforms: Pieces | Rows | Tensor
    labels: Tensor
    recordings: Tensor
    recording_names: tuple[str, ...]
    x_0: Rows | Tensor | None = None
    reads: Literal["label", "sound", "level"] = "label"
    levels: Tensor | None = None
    augmentation: AudioAugmentation | None = None
    sample_rate: int = 32_000
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.waveforms), len(self.labels), len(self.recordings)}
        if len(lengths) > 1 or (self.x_0 is not None and len(self.x_0) not in lengths):
            raise ValueError(f"{len(self.waveforms)} pieces with {len(self.labels)} labels")

    @property
    def num_recordings(self) -> int:
        """How many recordings the pieces are of."""
        return len(self.recordings.unique())

    @property
    def seconds(self) -> float:
        """Of sound in these recordings, what is in two pieces counted once."""
        if isinstance(self.waveforms, Pieces):
            return self.waveforms.num_covered / self.sample_rate
        return len(self) * self.waveforms.shape[1] / self.sample_rate

    def take(self, places: Tensor) -> MusicSamples:
        """These pieces alone, by number or mask; nothing is read."""
        chosen = self.waveforms[places] if isinstance(self.waveforms, torch.Tensor) else self.waveforms.take(places)
        x_0 = self.x_0[places] if isinstance(self.x_0, torch.Tensor) else self.x_0 and self.x_0.take(places)
        levels = None if self.levels is None else self.levels[places]
        own: dict[str, Any] = {"labels": self.labels[places], "recordings": self.recordings[places], "levels": levels}
        return replace(self, waveforms=chosen, x_0=x_0, **own)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pieces at `indices` (B,), each in a view or an augmentation of its own, drawn by `generator`."""
        labels = self.labels[indices]
        if self.x_0 is None:
            sounds = self.waveform(indices)
            if self.augmentation:
                sounds = torch.stack([self._augmented(place, generator) for place in indices.tolist()])
            return Batch(signal=sounds, raw=sounds if self.reads == "sound" else self.told(indices), label=labels)
        x_0, chosen = draw_view(self.x_0, indices, generator, None if self.augmentation else 1)
        raw = self.views(indices, chosen) if self.reads == "sound" else self.told(indices)
        return Batch(signal=x_0, raw=raw, label=labels, encoded=True)

    def told(self, places: Tensor) -> Tensor:
        """What is told of the pieces at `places` (B,) where it is not how they sound: levels or labels, (B,)."""
        if self.reads != "level":
            return self.labels[places]
        assert self.levels is not None
        return self.levels[places]

    def waveform(self, indices: Tensor) -> Tensor:
        """The pieces at `indices` (B,) as float32 (B, S) in [-1, 1]."""
        return as_float(self.waveforms[indices])

    def view(self, places: Tensor, number: int) -> Tensor:
        """One view (B, S) of the pieces at `places` (B,): 0 as they are, any other augmented, each always the same."""
        return self.views(places, torch.full_like(places, number))

    def views(self, indices: Tensor, numbers: Tensor) -> Tensor:
        """Views (B, S) of the pieces by number (B,): 0 as it is, others augmented, each always the same."""
        sounds = self.waveform(indices)
        for row, (place, number) in enumerate(zip(indices.tolist(), numbers.tolist(), strict=True)):
            if number:
                sounds[row] = self._augmented(place, seeding.generator(self.seed, "view", number, place))
        return sounds

    def _augmented(self, place: int, generator: torch.Generator) -> Tensor:
        assert self.augmentation is not None
        pieces = self.waveforms
        if not isinstance(pieces, Pieces):
            pieces, place = Pieces.of(pieces[torch.tensor([place])]), 0
        return self.augmentation(pieces, place, self.sample_rate, generator)
