"""Classifiers of log-mels of speech: which word a clip says, and who speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.data.audio import as_float
from synesthete.evaluation.classifiers import classifier as base
from synesthete.evaluation.samples import drawn
from synesthete.nn.spectrum import bands_of, mel_spectrogram
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.speech.corpus import Clips

# Natural logarithms of mel magnitude, from 90 dB under the loudest speech up. What lies below cannot be heard, so it
# must not count: generated silence is never as deep as the digital silence around a real clip.
QUIETEST, LOUDEST = -5.0, 5.0
FLOOR = 1e-7  # of a mel magnitude, before the logarithm
CHUNK = 100  # clips at once


def drawer(num: int, generator: torch.Generator) -> Callable[[float, float], Tensor]:
    """What draws a number for each of `num` log-mels between two, (num, 1, 1, 1)."""
    return lambda low, high: torch.rand(num, 1, 1, 1, generator=generator) * (high - low) + low


class SpeechClassifier(base.Classifier):
    """Log-mel (B, 1, n_mels, T), not normalised -> logits (B, num_classes).

    Its own fixed range (QUIETEST to LOUDEST) stands in for any codec's statistics, so that all are evaluated alike.
    class_names: in the order of the logits. width: channels of the first convolution. Others: as of `AudioSpec`.
    """

    training_settings = base.TrainingSettings(
        64, 4e-3, 0.02, 0.05, 0.2, num_passes=1, fewest_steps=800, most_steps=800, precision="no"
    )
    chunk_size = CHUNK
    standardised = False

    def __init__(
        self,
        class_names: tuple[str, ...] = (),
        sample_rate: int = 24_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        width: int = 32,
        mel_scale: Literal["htk", "slaney"] = "htk",
        fmax: float | None = None,
    ) -> None:
        super().__init__()
        # Every convolution strides, the first one by 4: it trains in seconds on two cores.
        first, middle = (1, width, 8, 4, 4), (width, 2 * width, 3, 2, 1)
        sizes: tuple[Any, ...] = (first, middle, (2 * width, 4 * width, 3, (2, 1), 1))
        layers = ((nn.Conv2d(*size), nn.BatchNorm2d(size[1]), nn.ReLU()) for size in sizes)
        self.layers = nn.Sequential(*(layer for three in layers for layer in three))
        # Where in the spectrum matters, and roughly when in the word: kept, the rest averaged away.
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * width, len(class_names) or 1))

    @property
    def spec(self) -> AudioSpec:
        """Of the log-mels it reads."""
        return AudioSpec(**{field.name: self.config[field.name] for field in fields(AudioSpec)})

    def inputs(self, samples: Tensor | Rows) -> Iterator[Tensor]:
        """Log-mels (n, 1, n_mels, T), or those of waveforms (n, S), int16 or in [-1, 1], a chunk at a time."""
        found = log_mels(samples, self.spec) if len(samples.shape) == 2 else samples[:].float()
        return iter(found.split(self.chunk_size))

    def pooled(self, inputs: Tensor) -> Tensor:
        """Log-mel (B, 1, n_mels, T) -> what the head reads, (B, 64 * width)."""
        middle, half = (LOUDEST + QUIETEST) / 2, (LOUDEST - QUIETEST) / 2
        x = (inputs.clamp(QUIETEST, LOUDEST) - middle) / half
        x = self.layers(x.contiguous(memory_format=torch.channels_last))  # (B, 4 * width, n_mels / 16, T / 8)
        return self.pool(x).flatten(1)

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, 1, n_mels, T) as other speakers, rooms and recordings would have them.

        Louder, later, stretched (other vocal tracts) and tilted in frequency, grain on every cell, a floor of noise,
        and bands and frames wiped out (SpecAugment, Park et al. 2019).
        """
        num, _, num_bands, num_frames = inputs.shape
        draw = drawer(num, generator)
        theta = torch.zeros(num, 2, 3)
        theta[:, 0, 0] = draw(0.9, 1.12).flatten()
        theta[:, 1, 1] = draw(0.88, 1.12).flatten()
        theta[:, 0, 2] = theta[:, 0, 0] - 1 + draw(-0.2, 0.2).flatten()  # the word starts where the clip does
        theta[:, 1, 2] = theta[:, 1, 1] - 1  # the lowest band stays the lowest
        grid = F.affine_grid(theta, list(inputs.shape), align_corners=False)
        # Beyond the edge is silence, which is 0 after this shift.
        x = F.grid_sample(inputs.clamp(min=QUIETEST) - QUIETEST, grid, align_corners=False) + QUIETEST
        bands = torch.linspace(-1, 1, num_bands).view(1, 1, -1, 1)
        x = x + draw(-1, 1) + draw(-0.5, 0.5) * bands + draw(0, 0.4) * torch.randn(x.shape, generator=generator)
        x = torch.logaddexp(x, draw(QUIETEST - 1, QUIETEST / 2) + 0.5 * torch.randn(x.shape, generator=generator))
        for axis, size, largest in ((2, num_bands, 0.15), (3, num_frames, 0.12)):
            place = torch.arange(size).view([-1 if i == axis else 1 for i in range(4)])
            start, width = draw(0, size), draw(0, largest * size)
            x = x.masked_fill((place >= start) & (place < start + width), QUIETEST)
        return x


@dataclass(frozen=True)
class Prediction:
    """What a sound most likely says, or a picture shows, how probable that is, 0 to 1, and what comes next, if any."""

    says: str
    confidence: float
    next_says: str | None = None
    next_confidence: float = 0.0

    def __str__(self) -> str:
        """One line: says 'seven' (classifier 0.97; next 'one' 0.02)."""
        after = f"; next {self.next_says!r} {self.next_confidence:.2f}" if self.next_says is not None else ""
        return f"says {self.says!r} (classifier {self.confidence:.2f}{after})"


def recognise(trained: base.TrainedClassifier[Any], samples: Tensor) -> list[Prediction]:
    """What each sample, a sound (S,) or a picture (C, H, W), is: its class' phrase, or else name."""
    classifier = trained.classifier
    words = trained.words or [()] * len(classifier.class_names)
    names = [own[0] if len(own) == 1 else name for own, name in zip(words, classifier.class_names, strict=True)]
    found = []
    for row in classifier.probabilities(samples):
        shares, places = row.topk(min(2, len(names)))
        after = (names[int(places[1])], shares[1].item()) if len(places) > 1 else ()
        found.append(Prediction(names[int(places[0])], shares[0].item(), *after))
    return found


def log_mel_of(codec: Any, x_0: Tensor) -> Tensor:
    """A mel codec's x_0 (B, 1, n_mels, T) as log-mel of the same shape, its normalisation undone."""
    return codec.denormalise(x_0).unsqueeze(1)


def log_mels(waveforms: Tensor | Rows, spec: AudioSpec) -> Tensor:
    """Waveforms (n, S), int16 or in [-1, 1] -> log-mels (n, 1, n_mels, T) as `LogMelCodec.log_mel`, on the CPU."""
    bands, window = bands_of(spec), torch.hann_window(spec.n_fft)
    parts = (as_float(part.cpu()) for part in waveforms.split(CHUNK))
    return torch.cat(
        [mel_spectrogram(part, bands, window, spec.hop_length).clamp(min=FLOOR).log().unsqueeze(1) for part in parts]
    )


def load_or_train_speech_classifier(
    clips: Clips, test: Clips, *, spec: AudioSpec | None = None, **options: Unpack[base.TrainingOptions]
) -> base.TrainedClassifier[SpeechClassifier]:
    """The classifier for this corpus, as `load_or_train`; its accuracy is that on `test`, whose voices are others."""
    if shared := set(clips.speakers) & set(test.speakers) - {""}:
        raise InputError(
            f"voice {min(shared)}: in the classifier's split and in the test split; build the corpus again"
        )
    spec, num_voices = spec or AudioSpec(), len(set(test.speakers))
    build = partial(SpeechClassifier, clips.class_names, **vars(spec))
    of_test = test.waveforms, test.labels
    return base.load_or_train(build, clips.waveforms, clips.labels, *of_test, num_voices=num_voices, **options)


SHARE_KEPT = 4  # one clip in so many is kept for measuring


class VoiceClassifier(SpeechClassifier):
    """Log-mel (B, 1, n_mels, T) -> logits of the voices, whose names its `class_names` are."""

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, 1, n_mels, T) louder or softer by up to 9 dB, on a floor of noise; the voice stays as it is."""
        draw = drawer(len(inputs), generator)
        x = inputs.clamp(min=QUIETEST) + draw(-1, 1) + draw(0, 0.4) * torch.randn(inputs.shape, generator=generator)
        return torch.logaddexp(x, draw(QUIETEST - 1, QUIETEST / 2).expand_as(x))


def load_or_train_voice_classifier(
    clips: Clips, voices: Sequence[str], spec: AudioSpec, **options: Unpack[base.TrainingOptions]
) -> tuple[base.TrainedClassifier[VoiceClassifier], Clips]:
    """The classifier of these voices, as `load_or_train`, and the clips it did not learn from, as `split_takes`."""
    places = {name: place for place, name in enumerate(voices)}
    labels = torch.tensor([places.get(name, -1) for name in clips.speakers])
    kept, learned = split_takes(clips, voices)
    build = partial(VoiceClassifier, tuple(voices), **vars(spec))
    sides = [(clips.waveforms[part], labels[part]) for part in (learned, kept)]
    trained = base.load_or_train(build, *sides[0], *sides[1], num_voices=len(voices), **options)
    return trained, clips[kept]


def split_takes(clips: Clips, voices: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Places of the clips of these voices: one in SHARE_KEPT, drawn once and for all, and the others."""
    known = torch.tensor([i for i, name in enumerate(clips.speakers) if name in set(voices)], dtype=torch.int64)
    order = known[drawn(len(known), len(known), 0, "clips of voices")]
    return order[: len(order) // SHARE_KEPT], order[len(order) // SHARE_KEPT :]
