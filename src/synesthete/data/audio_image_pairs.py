"""Pictures of things and sounds of the same things: by class, or each picture with a sound of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from synesthete.config.build import shorten
from synesthete.data.audio import as_float
from synesthete.data.files import MANIFEST_NAME, find_manifests, list_files, list_folders, some
from synesthete.data.found_pairs import FoundPairs, PairPart, PairSource, divide_pairs
from synesthete.data.labelled import draw_for_classifier, in_turn
from synesthete.data.pair_sources import PairManifest, SoundFolders
from synesthete.data.pictures import ClassFolders
from synesthete.data.recordings import RecordingEntry, open_recordings
from synesthete.data.sample_shards import SampleShards, holds_shards
from synesthete.data.samples import ChangesPictures, ChangesSounds, PairSources, Samples, picture_batch
from synesthete.data.videos import SUFFIXES, Videos
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import Batch, InputError, Progress

if TYPE_CHECKING:
    from synesthete.data.augmentation import AudioAugmentation
    from synesthete.data.rows import Pieces, Rows
    from synesthete.data.samples import Augmentation

NO_PAIRS = "no {}; --set data.folder=FOLDER (metadata.jsonl, folders of pictures and sounds, or videos), or {}"
# Of a folder that keeps pictures and sounds apart, as they may be called.
APART = (("pictures", "images", "image"), ("sounds", "audio", "sound"))

OPENED = "opened.jsonl"  # in the folder: content and length of the sounds, each opened once


@dataclass
class PairListing:
    """Everything that was found and can be opened, and the split of each.

    found: pictures, sounds and fixed pairs. entries: each sound, opened, in the order of `found.sounds`.
    """

    found: FoundPairs
    picture_parts: list[PairPart]
    entries: list[RecordingEntry]
    sound_parts: list[PairPart]
    class_names: tuple[str, ...]
    notes: list[str] = field(default_factory=list)


@dataclass(eq=False)
class AudioImagePairs:
    """Pictures, and sounds that belong to them: any sound of a picture's class, or its own where the source has pairs.

    No picture file, no sound file, no video and no group of sounds is in two splits: train, classifier (pictures from
    which only the classifier learns that evaluates the model), test, and `speakers`: sounds of speakers that are in no
    other.

    Args:
        sources: where pictures, sounds, or pairs of both come from. folder: one's own, in place of the sources: a
            `metadata.jsonl`; what `SampleShards` reads; a folder of videos a class; folders `pictures` and `sounds`
            with a folder a class in each; or class folders that hold both.
        class_names: the classes, in the order of their numbers; others are left out. None takes all, by name, and
            refuses one that has pictures and no sound, or the other way round.
        captions: one of these is told of a picture in each batch, drawn anew; what may stand in braces is in
            `captions.LOOKS`. "text" takes the manifest's own. None at all tells nothing.
        seconds: of every sound: longer ones are cut to their loudest stretch, shorter ones padded with silence; None:
            what the conditioner's encoder hears, or 10 s.
        balanced: keep as many training pictures of every class as the smallest has. balanced_batches: show those of
            smaller classes again, so that in an epoch every class is seen as often.
        augmentation: of training pictures. sound_augmentation: of training sounds, where the encoder learns.
        speakers: names of speakers of whom nothing is trained on.
        limit: keep only so many pictures of each split, to overfit on purpose.
        test_share, classifier_share: of sounds and of fixed pairs, class by class. num_classifier: pictures without a
            pair that the classifier gets; None takes a fifth of them, 2,000 at most.
        silence_db: sounds quieter than this (RMS, full scale 0) are left out.
        max_pixels: of a picture; one of more is left out, and not decoded.
    """

    sources: PairSources = ()
    class_names: tuple[str, ...] | None = None
    captions: tuple[str, ...] | str = ()
    seconds: float | None = None
    balanced: bool = False
    balanced_batches: bool = False
    augmentation: ChangesPictures | None = None
    sound_augmentation: ChangesSounds | None = None
    speakers: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = 0
    folder: str | None = None
    test_share: float = 0.1
    classifier_share: float = 0.15
    num_classifier: int | None = None
    silence_db: float = -60.0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        shares, seconds = (self.test_share, self.classifier_share), self.seconds
        if min(shares) < 0 or sum(shares) >= 1 or (seconds is not None and not seconds > 0):
            raise InputError(
                f"data: seconds {seconds}, shares {shares[0]} and {shares[1]}; give seconds > 0, and shares that leave "
                "something to train on"
            )
        if isinstance(self.captions, str) and self.captions != "text":
            raise InputError(
                f"data.captions {self.captions!r}: give a list of captions, or 'text' for the manifest's own"
            )

    def pairs(self, folder: Path, progress: Progress = lambda *_: None) -> PairListing:
        """All that the sources have, with the split of each; sounds are opened and hashed, nothing is decoded.

        folder: for what a source has to make first, spoken words or what is cut from videos.

        Raises:
            InputError: no such folder, no pictures or no sounds, none that can be opened, or a class with one of them.
        """
        sources = self.sources if self.folder is None else own_sources(Path(self.folder))
        found = FoundPairs()
        for source in sources:
            found.extend(source.pairs(folder, progress))
        for what, listed in (("pictures", found.pictures), ("sounds", found.sounds)):
            if not listed:
                raise InputError(NO_PAIRS.format(what, give_sources(sources)))
        opened = open_recordings([sound.recording for sound in found.sounds], "sounds", folder / OPENED)
        found.skipped += [reason for reason in opened if isinstance(reason, str)]
        entries = [entry for entry in opened if not isinstance(entry, str)]
        found = found.keep([True] * len(found.pictures), [not isinstance(one, str) for one in opened])
        names = self._classes(found)
        in_classes = [[item.label in names for item in listed] for listed in (found.pictures, found.sounds)]
        entries = [entry for entry, kept in zip(entries, in_classes[1], strict=True) if kept]
        found = found.keep(*in_classes)
        missing = sorted(set(self.speakers) - {str(sound.speaker) for sound in found.sounds})
        if missing:
            raise InputError(f"data.speakers {missing[0]!r}: no sound by that speaker; see the sources' speakers")
        picture_parts, sound_parts = divide_pairs(
            found, [entry.content for entry in entries], self.test_share, self.classifier_share, self.speakers
        )
        for entry, sound in zip(entries, found.sounds, strict=True):
            entry.label = names.index(sound.label)
        self._take_for_classifier(found, picture_parts, names)
        kept = self._kept(found, picture_parts, names)
        left = found.keep(kept, [True] * len(found.sounds))
        parts = [part for part, chosen in zip(picture_parts, kept, strict=True) if chosen]
        return PairListing(left, parts, entries, sound_parts, names, found.notes)

    def _classes(self, found: FoundPairs) -> tuple[str, ...]:
        shown, heard = {p.label for p in found.pictures}, {s.label for s in found.sounds}
        names = self.class_names or tuple(sorted(shown | heard))
        for name in names:
            if name not in shown | heard:
                raise InputError(f"class {shorten(name)} of data.class_names: no picture and no sound; add some")
            if name not in shown & heard:
                has = "pictures but no sound" if name in shown else "sounds but no picture"
                raise InputError(f"class {shorten(name)}: {has}; add some, or leave it out of data.class_names")
        return names

    def _take_for_classifier(self, found: FoundPairs, parts: list[PairPart], names: tuple[str, ...]) -> None:
        """Give the classifier some of the training pictures that are in no pair, as many of each class."""
        paired = {picture for picture, _ in found.pairs}
        free = [i for i, part in enumerate(parts) if part == "train" and i not in paired]
        if not free:
            return
        labels = torch.tensor([names.index(found.pictures[i].label) for i in free])
        for place in draw_for_classifier(labels, self.num_classifier).nonzero().flatten().tolist():
            parts[free[place]] = "classifier"

    def _kept(self, found: FoundPairs, parts: Sequence[PairPart], names: tuple[str, ...]) -> list[bool]:
        """Which pictures are left by `balanced` and `limit`."""
        kept = [False] * len(parts)
        for part in sorted(set(parts)):
            places = [i for i, own in enumerate(parts) if own == part]
            labels = torch.tensor([names.index(found.pictures[i].label) for i in places])
            order = in_turn(labels, self.seed)
            if self.balanced and part == "train":
                order = order[: len(labels.unique()) * int(labels.unique(return_counts=True)[1].min())]
            for place in order[: self.limit].tolist():
                kept[places[place]] = True
        return kept


def give_sources(sources: Sequence[PairSource]) -> str:
    """How to give sources what they lack: the settings of the first that asks for some."""
    for source in sources:
        asked = {field: value for field, value in source.asks.items() if getattr(source, field) is None}
        if asked:
            name = f"data.sources.{type(source).__name__.lower()}"
            return " ".join(f"--set {name}.{field}={value}" for field, value in asked.items())
    return "give sources"


def own_sources(folder: Path) -> tuple[PairSource, ...]:
    """The sources that fit what a folder holds."""
    if folder.suffix == ".jsonl" or find_manifests(folder):
        return (PairManifest(str(folder)),)
    if holds_shards(folder):
        return (SampleShards(str(folder)),)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with a {MANIFEST_NAME}, class folders, or videos")
    apart = [next((folder / name for name in names if (folder / name).is_dir()), None) for names in APART]
    if apart[0] and apart[1]:
        return (ClassFolders(str(apart[0]), num_test=0), SoundFolders(str(apart[1])))
    if any(list_files(entry, SUFFIXES) for entry in list_folders(folder)):
        return (Videos(str(folder)),)
    return (ClassFolders(str(folder), num_test=0), SoundFolders(str(folder)))


@dataclass
class AudioImageSamples(Samples):
    """Pictures and sounds, in memory or in shards on disk, paired anew for every batch.

    pictures: (n, C, H, W) uint8. labels: (n,). sounds: (m, S) int16, sample / 32768 is the sound. sound_labels: (m,).
    tell(sound, text, is_embedded): makes what the conditioner reads of waveforms (B, S), or of vectors (B, E) that its
        encoder made of them, and of token ids (B, L) or None.
    x_0: (n, V, c, h, w), V views of each picture, where they were encoded beforehand. heard: (m, E), what a frozen
    encoder makes of each sound, where it listened beforehand. texts: (k, L) token ids of captions; captions: (n, T),
    which T of them may be told of each picture. pairs: (p, 2), picture and sound that belong together; a picture in
    none goes with any sound of its class. order: (N,), the pictures that a run of indices goes through; None: all.
    templates: what each of the T columns was filled from. texts_read: the captions as people read them. speakers: of
    each sound, "" where nobody says.
    """

    augmentations: ClassVar = ("augmentation", "sound_augmentation")

    pictures: Tensor | Rows
    labels: Tensor
    sounds: Pieces | Rows | Tensor
    sound_labels: Tensor
    tell: Callable[..., Any]
    x_0: Tensor | Rows | None = None
    captions: Tensor | None = None
    texts: Tensor | None = None
    texts_read: tuple[str, ...] = ()
    heard: Tensor | Rows | None = None
    pairs: Tensor | None = None
    augmentation: Augmentation | None = None
    sound_augmentation: AudioAugmentation | None = None
    order: Tensor | None = None
    speakers: tuple[str, ...] = ()
    sample_rate: int = 48_000
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shown = {len(x) for x in (self.pictures, self.labels, self.x_0, self.captions) if x is not None}
        listened = {len(x) for x in (self.sounds, self.sound_labels, self.heard) if x is not None}
        if len(shown) != 1 or len(listened) != 1:
            raise ValueError(f"pictures, labels, x_0, captions: {sorted(shown)} of each; sounds: {sorted(listened)}")
        num_classes = 1 + max(int(x.max()) if len(x) else -1 for x in (self.labels, self.sound_labels))
        self._of_class = [(self.sound_labels == label).nonzero().flatten().tolist() for label in range(num_classes)]
        self._labels = self.labels.tolist()
        self._own: dict[int, list[int]] = {}
        for picture, sound in [] if self.pairs is None else self.pairs.tolist():
            self._own.setdefault(picture, []).append(sound)
        for place, label in enumerate(self.labels.tolist()):
            if not self.partners(place):
                raise InputError(f"class number {label}: pictures but no sound; add some or take the class out")

    def __len__(self) -> int:
        return len(self.labels) if self.order is None else len(self.order)

    @property
    def num_speakers(self) -> int:
        """How many speakers are known among the sounds."""
        return len({name for name in self.speakers if name})

    def with_captions(self, templates: Sequence[str]) -> AudioImageSamples:
        """The same, of whose captions only those made from some of the templates are told."""
        for template in templates:
            if template not in self.templates:
                raise InputError(
                    f"caption {template!r}: not among data.captions; add it there, or take it out of the stage's"
                )
        if not templates or self.captions is None:
            raise InputError("no captions to tell; name some of data.captions, or set the stage's to null for all")
        told = copy.copy(self)  # nothing else is to be found out again
        told.captions = self.captions[:, [self.templates.index(template) for template in templates]]
        told.templates = tuple(templates)
        return told

    def in_balance(self) -> AudioImageSamples:
        """The same, in an order that shows pictures of smaller classes again, every class as often as the largest."""
        own = [(self.labels == label).nonzero().flatten() for label in self.labels.unique().tolist()]
        most = max(len(places) for places in own)
        return replace(self, order=torch.cat([places.repeat(-(-most // len(places)))[:most] for places in own]))

    def class_weights(self) -> Tensor:
        """A weight for the loss of each class (classes,): of what a batch holds, every class weighs as much.

        The mean over the samples is 1; a class without a picture has 0.
        """
        labels = self.labels if self.order is None else self.labels[self.order]
        counts = torch.bincount(labels, minlength=len(self._of_class)).float()
        return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The pictures at `indices` (B,), each with a sound, a caption and a view drawn by `generator`."""
        places = indices if self.order is None else self.order[indices]
        draws = torch.rand(2, len(places), generator=generator)
        fitting = [self.partners(place) for place in places.tolist()]
        sounds = torch.tensor([own[int(draw * len(own))] for own, draw in zip(fitting, draws[0].tolist(), strict=True)])
        raw = self.tell(self.listened(sounds, generator), self._told(places, draws[1]), self.heard is not None)
        return picture_batch(self, places, raw, generator)

    def listened(self, sounds: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sounds by number (B,), as the conditioner reads them: vectors (B, E) or waveforms (B, S) in [-1, 1]."""
        if self.heard is not None:
            return self.heard[sounds].float()
        if self.sound_augmentation is None or generator is None:
            return self.waveform(sounds)
        pieces: Any = self.sounds
        return torch.stack([self.sound_augmentation(pieces, i, self.sample_rate, generator) for i in sounds.tolist()])

    def sounds_alone(self, sounds: Tensor) -> Any:
        """Sounds by number (B,) as a raw condition without a text."""
        return self.tell(self.listened(sounds), None, self.heard is not None)

    def waveform(self, sounds: Tensor) -> Tensor:
        """Sounds by number (B,) as float32 (B, S) in [-1, 1]."""
        return as_float(self.sounds[sounds])

    def partners(self, place: int) -> list[int]:
        """The numbers of the sounds that may be told with a picture."""
        return self._own.get(place) or self._of_class[self._labels[place]]

    def _told(self, places: Tensor, draws: Tensor) -> Tensor | None:
        if self.captions is None or self.texts is None:
            return None
        chosen = (draws * self.captions.shape[1]).long()
        return self.texts[self.captions[places, chosen]]


def class_note(names: Sequence[str]) -> str:
    """What is said of captions that name the class."""
    return f"{len(names)} captions name a class, which a model can then do without hearing: {some(names, 3)}"
