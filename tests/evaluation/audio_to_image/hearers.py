"""Models that paint sounds and whose worth is known beforehand, and sounds whose class can be read off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.audio_text import SoundAndText, joined
from synesthete.conditioning.conditioner import Conditioner
from synesthete.config import Sampling, register_class
from synesthete.data.audio_image_pairs import AudioImageSamples
from synesthete.data.labelled import PictureSamples
from synesthete.data.synthetic import Swatches
from synesthete.denoisers.denoiser import Denoiser
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.pipeline import Pipeline
from synesthete.types import Condition, Prepared

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = ("red", "green", "blue", "grey")
TEXTS = ("a picture", "some picture", *(f"a {name} picture" for name in COLOURS))
RATE, LENGTH, SIZE = 1000, 400, 8


def swatches(split: str, num: int) -> tuple[Tensor, Tensor]:
    found = Swatches(COLOURS, num, num, SIZE).pictures(split)
    pictures = torch.stack([torch.from_numpy(np.array(file.read())).permute(2, 0, 1) for file in found.files])
    return pictures, torch.tensor([COLOURS.index(name) for name in found.labels])


def sounds(num: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Tones (n, S) int16, higher for every class; the first sample says the class, the second which tone it is."""
    labels = torch.arange(len(COLOURS)).repeat_interleave(num)
    time = torch.arange(LENGTH) / RATE
    waves = (8000 * torch.sin(2 * torch.pi * 40 * (labels[:, None] + 1) * time)).short()
    waves[:, 0] = 1000 * (labels + 1).short()
    waves[:, 1] = (first + torch.arange(len(labels))).short()
    return waves, labels


def paired(split: str, num: int, first: int, speakers: tuple[str, ...] = (), own: bool = False) -> AudioImageSamples:
    """`num` pictures and sounds of each class, and captions: two that name none, and one that does."""
    pictures, labels = swatches(split, num)
    waves, sound_labels = sounds(num, first)
    captions = torch.stack([torch.zeros_like(labels), torch.ones_like(labels), 2 + labels], dim=1)
    texts = torch.tensor([[0, 1], [0, 2], *([label + 1, 1] for label in range(len(COLOURS)))])
    return AudioImageSamples(
        pictures,
        labels,
        waves,
        sound_labels,
        SoundAndText,
        captions=captions,
        texts=texts,
        texts_read=TEXTS,
        pairs=torch.arange(len(labels))[:, None].expand(-1, 2) if own else None,
        speakers=tuple(speakers[i % len(speakers)] for i in range(len(waves))) if speakers else (),
        sample_rate=RATE,
    )


def prepared_sounds(num: int = 16, own: bool = False) -> Prepared:
    """As many pictures and sounds of each class in every split; no sound is in two of them."""
    classifier = PictureSamples(*swatches("classifier", num))
    train, test = paired("train", num, 0), paired("test", num, 200, own=own)
    unheard = paired("test", num, 400, ("ann", "bob"))
    return Prepared(train, test, {}, COLOURS, classifier=classifier, speakers=unheard)


@register_class
class Ear(Conditioner):
    """One token of text, (class + 1, which caption), and two of sound, (class + 1, 0) and (0, which tone).

    Args:
        deaf: hears every sound as one of the first class.
    """

    reads = "audio_text"

    def __init__(self, deaf: bool = False) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def compose(self, sounds=None, prompts=None):
        sound = None if sounds is None else torch.stack([x[:LENGTH] for x in sounds])
        return SoundAndText(sound=sound)

    def embed_audio(self, raw, generator=None):
        said = (raw.sound[:, 0] * 32768 / 1000).round()
        return torch.nn.functional.one_hot(said.long() % 8, 8).float() * (0 if self.config.deaf else 1)

    def encode(self, raw, generator=None):
        text = self._text(len(raw)) if raw.text is None else self._text(raw.text)
        return joined(text, self._sound(len(raw)) if raw.sound is None else self._sound(raw.sound))

    def null(self, batch_size):
        return joined(self._text(batch_size), self._sound(batch_size))

    def branches(self, raw, negative=None):
        none = self.null(len(raw))
        text = none if raw.text is None else joined(self._text(raw.text), self._sound(len(raw)))
        return none, text, text if raw.sound is None else self.encode(raw)

    def _text(self, text):
        there = torch.is_tensor(text)
        tokens = text.float()[:, None] if there else torch.zeros(text, 1, 2)
        return Condition(tokens=tokens, mask=torch.ones(len(tokens), 1, dtype=torch.bool))

    def _sound(self, sound):
        there = torch.is_tensor(sound)
        tokens = torch.zeros(len(sound) if there else sound, 2, 2)
        if there:
            tokens[:, 0, 0] = 1 if self.config.deaf else (sound[:, 0] * 32768 / 1000).round()
            tokens[:, 1, 1] = (sound[:, 1] * 32768).round()
        return Condition(tokens=tokens, mask=torch.full(tokens.shape[:2], there))


@register_class
class Hand(Denoiser):
    """Predicts one of the pictures it knows, whatever x_t: of the class that it was told in the way that it follows.

    Told no class it takes any of them, and which of a class is drawn by the noise.

    Args:
        follows: "sound", "text" or "nothing".
    """

    def __init__(self, follows: str = "sound") -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))
        self.adapter_scale = 1.0

    def knows(self, x_0: Tensor, labels: Tensor) -> Hand:
        self.pool, self.labels = x_0, labels
        return self

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        place = {"sound": 1, "text": 0}.get(self.config.follows)
        told = torch.zeros(len(x_t)) if place is None else condition.tokens[:, place, 0]
        if place == 1:
            told = told * condition.mask[:, 1] * (self.adapter_scale > 0)
        found = []
        for sample, label in zip(x_t, told.tolist(), strict=True):
            fitting = (self.labels == label - 1).nonzero().flatten() if label else torch.arange(len(self.pool))
            found.append(self.pool[fitting[int(sample.abs().sum() * 1000) % len(fitting)]])
        return torch.stack(found)


def make_hearer(follows: str, pictures: Tensor, labels: Tensor, deaf: bool = False) -> Pipeline:
    """A model that paints the given pictures (n, C, H, W) uint8, in one step."""
    codec = PixelCodec(size=SIZE)
    process = Process()
    sampling = vars(Sampling(num_inference_steps=1, guidance_scale=1.0))
    hand = Hand(follows).knows(codec.encode(pictures), labels)
    card = {"class_names": list(COLOURS), "recipe": "hearers"}
    return Pipeline(codec, Ear(deaf), hand, scheduler_for(sampling, process), process.settings(), sampling, card)
