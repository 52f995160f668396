"""What a model is told: held-out sounds, captions that leave the class to be heard, and captions that name it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.captions import names_class
from synesthete.data.labelled import in_turn

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_pairs import AudioImageSamples

BATCH_SIZE = 64


@dataclass(frozen=True)
class EvalConditions:
    """Sounds drawn from a split, each with a real picture that it may be told with, and what may be said of that.

    sounds, labels, pictures: (n,), places in `samples` and classes; a sound may come more than once. captions: (n,),
    numbers in `samples.texts` of captions that do not name the class; naming: of ones that do. None: there are none.
    """

    samples: AudioImageSamples
    sounds: Tensor
    labels: Tensor
    pictures: Tensor
    captions: Tensor | None = None
    naming: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sounds)

    @property
    def num_sounds(self) -> int:
        """How many different sounds there are: a sound that comes again is no independent answer."""
        return len(self.sounds.unique())

    def few(self, num: int) -> EvalConditions:
        """The first `num`."""
        captions, naming = (None if x is None else x[:num] for x in (self.captions, self.naming))
        return EvalConditions(self.samples, self.sounds[:num], self.labels[:num], self.pictures[:num], captions, naming)

    def raw(
        self, *, sound: Tensor | None = None, text: Tensor | None = None, silent: bool = False, mute: bool = False
    ) -> Any:
        """What the conditioner reads of all of them.

        sound: (n,) whose sound each is told in place of its own. text: (n,) captions by number in place of the class-
        less ones. silent: without sound. mute: without text.
        """
        chosen = self.sounds if sound is None else self.sounds[sound]
        heard = None if silent else torch.cat([self.samples.listened(part) for part in chosen.split(BATCH_SIZE)])
        captions = self.captions if text is None else text
        texts = self.samples.texts
        read = None if mute or captions is None or texts is None else texts[captions]
        return self.samples.tell(heard, read, self.samples.heard is not None)

    def caption(self, place: int) -> str:
        """What is said of a sample, as people read it."""
        return "" if self.captions is None else self.samples.texts_read[int(self.captions[place])]


def draw_conditions(samples: AudioImageSamples, class_names: tuple[str, ...], num: int, seed: int) -> EvalConditions:
    """`num` sounds of a split, every one before any comes again, each with a picture and captions drawn by chance.

    Classes take turns, so that the first few are as many of each. Sounds of classes that no picture of the split shows
    are left out.
    """
    samples = replace(samples.plain(), order=None)
    generator = seeding.generator(seed, "telling")  # names the draw: another one draws other pictures
    partners = picture_partners(samples)
    there = torch.tensor([i for i, own in enumerate(partners) if own], dtype=torch.int64)
    own, size = samples.sound_labels[there], max(1, len(there))
    rounds = [there[in_turn(own, seeding.derive(seed, "sounds", i))] for i in range(-(-num // size))]
    sounds = torch.cat(rounds)[:num]
    draws = torch.rand(3, len(sounds), generator=generator).tolist()
    pictures = torch.tensor(
        [
            partners[sound][int(draw * len(partners[sound]))]
            for sound, draw in zip(sounds.tolist(), draws[0], strict=True)
        ]
    )
    labels = samples.sound_labels[sounds]
    captions, naming = choose_captions(samples, class_names, pictures, labels, draws[1], draws[2])
    return EvalConditions(samples, sounds, labels, pictures, captions, naming)


def picture_partners(samples: AudioImageSamples) -> list[list[int]]:
    """For each sound the places of the pictures that may be told with it: those it is paired with, or of its class."""
    own: dict[int, list[int]] = {}
    for picture, sound in [] if samples.pairs is None else samples.pairs.tolist():
        own.setdefault(sound, []).append(picture)
    of_class = {
        label: (samples.labels == label).nonzero().flatten().tolist() for label in samples.labels.unique().tolist()
    }
    return [own.get(i) or of_class.get(label, []) for i, label in enumerate(samples.sound_labels.tolist())]


def choose_captions(
    samples: AudioImageSamples,
    class_names: tuple[str, ...],
    pictures: Tensor,
    labels: Tensor,
    draws: list[float],
    naming_draws: list[float],
) -> tuple[Tensor | None, Tensor | None]:
    """Numbers (n,) of captions of pictures (n,) that name no class, and of ones that name theirs; None where one lacks.

    draws: (n,) each, in [0, 1).
    """
    if samples.captions is None or samples.texts is None:
        return None, None
    tells = [[names_class(text, name) for name in class_names] for text in samples.texts_read]
    quiet, named = [], []
    for place, label, draw, naming_draw in zip(pictures.tolist(), labels.tolist(), draws, naming_draws, strict=True):
        own = list(dict.fromkeys(samples.captions[place].tolist()))
        without = [number for number in own if not any(tells[number])]
        naming = [number for number in own if tells[number][label] and sum(tells[number]) == 1]
        quiet.append(without[int(draw * len(without))] if without else -1)
        named.append(naming[int(naming_draw * len(naming))] if naming else -1)
    found = [torch.tensor(numbers) for numbers in (quiet, named)]
    first, second = (None if len(x) == 0 or bool((x < 0).any()) else x for x in found)
    return first, second


def other_captions(captions: Tensor, order: Tensor) -> Tensor | None:
    """For each caption (n,) another one of them: that of `order` (n,), or else the next that differs; None of one."""
    found = captions.unique()
    if len(found) < 2:
        return None
    other = captions[order]
    same = other == captions
    following = found[(torch.searchsorted(found, captions) + 1) % len(found)]
    return torch.where(same, following, other)


def other_class(labels: Tensor, order: Tensor) -> Tensor:
    """For each sample (n,) the place of one of another class: the first on the way along `order`, which is one ring.

    Where all are of one class, what `order` says.
    """
    if len(labels.unique()) < 2:
        return order
    places = order.clone()
    for i in range(len(labels)):
        while labels[places[i]] == labels[i]:
            places[i] = order[places[i]]
    return places
