"""Pictures and sounds of the same things as samples: every batch pairs them anew."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from synesthete.data.music import some
from synesthete.data.samples import Samples, draw_view
from synesthete.data.waveforms import as_float
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.augmentation import AudioAugmentation
    from synesthete.data.pieces import Pieces
    from synesthete.data.rows import Rows
    from synesthete.data.samples import Augmentation


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
        self._of_class = [(self.sound_labels == label).nonzero().flatten() for label in range(num_classes)]
        self._own: dict[int, list[int]] = {}
        for picture, sound in [] if self.pairs is None else self.pairs.tolist():
            self._own.setdefault(picture, []).append(sound)
        for place, label in enumerate(self.labels.tolist()):
            if place not in self._own and not len(self._of_class[label]):
                raise InputError(f"class number {label}: pictures but no sound; add some or take the class out")

    def __len__(self) -> int:
        return len(self.pictures) if self.order is None else len(self.order)

    @property
    def num_speakers(self) -> int:
        """How many speakers are known among the sounds."""
        return len({name for name in self.speakers if name})

    def with_captions(self, templates: Sequence[str]) -> AudioImageSamples:
        """The same, of whose captions only those made from some of the templates are told.

        Raises:
            InputError: a template that these were not captioned with, or none.
        """
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
        labels = self.labels[places]
        draws = torch.rand(2, len(places), generator=generator)
        sounds = torch.tensor(
            [
                self._partner(place, label, draw)
                for place, label, draw in zip(places.tolist(), labels.tolist(), draws[0].tolist(), strict=True)
            ],
            dtype=torch.int64,
        )
        raw = self.tell(self.listened(sounds, generator), self._told(places, draws[1]), self.heard is not None)
        if self.x_0 is not None:
            x_0, _ = draw_view(self.x_0, places, generator)
            return Batch(signal=x_0, raw=raw, label=labels, encoded=True)
        pictures = self.pictures[places]
        if self.augmentation is not None:
            pictures = self.augmentation(pictures, generator)
        return Batch(signal=pictures, raw=raw, label=labels)

    def listened(self, sounds: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sounds by number (B,), as the conditioner reads them: vectors (B, E) or waveforms (B, S) in [-1, 1]."""
        if self.heard is not None:
            return self.heard[sounds].float()
        if self.sound_augmentation is None or generator is None:
            return self.waveform(sounds)
        pieces: Any = self.sounds
        varied = [self.sound_augmentation(pieces, i, self.sample_rate, generator) for i in sounds.tolist()]
        return torch.stack(varied)

    def sounds_alone(self, sounds: Tensor) -> Any:
        """Sounds by number (B,) as a raw condition without a text."""
        return self.tell(self.listened(sounds), None, self.heard is not None)

    def waveform(self, sounds: Tensor) -> Tensor:
        """Sounds by number (B,) as float32 (B, S) in [-1, 1]."""
        return as_float(self.sounds[sounds])

    def partners(self, place: int) -> list[int]:
        """The numbers of the sounds that may be told with a picture."""
        return self._own.get(place) or self._of_class[int(self.labels[place])].tolist()

    def _partner(self, place: int, label: int, draw: float) -> int:
        own = self._own.get(place)
        if own is not None:
            return own[int(draw * len(own))]
        return int(self._of_class[label][int(draw * len(self._of_class[label]))])

    def _told(self, places: Tensor, draws: Tensor) -> Tensor | None:
        if self.captions is None or self.texts is None:
            return None
        chosen = (draws * self.captions.shape[1]).long()
        return self.texts[self.captions[places, chosen]]


def class_note(names: Sequence[str]) -> str:
    """What is said of captions that name the class."""
    return f"{len(names)} captions name a class, which a model can then do without hearing: {some(names, 3)}"
