"""A classifier of log-mels of speech by who speaks, whatever is said, however high and however fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

from synesthete.evaluation.classifiers.classifier import TrainedClassifier, TrainingOptions, load_or_train
from synesthete.evaluation.classifiers.speech import QUIETEST, SpeechClassifier
from synesthete.evaluation.samples import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.data.speech.corpus import Clips
    from synesthete.types import AudioSpec

SHARE_KEPT = 4  # one clip in so many is kept for measuring


class VoiceClassifier(SpeechClassifier):
    """Log-mel (B, 1, n_mels, T) -> logits of the voices, whose names its `class_names` are."""

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, 1, n_mels, T) louder or softer by up to 9 dB, on a floor of noise; the voice stays as it is."""
        num = len(inputs)

        def draw(low: float, high: float) -> Tensor:
            return torch.rand(num, 1, 1, 1, generator=generator) * (high - low) + low

        x = inputs.clamp(min=QUIETEST) + draw(-1, 1) + draw(0, 0.4) * torch.randn(inputs.shape, generator=generator)
        return torch.logaddexp(x, draw(QUIETEST - 1, QUIETEST / 2).expand_as(x))


def load_or_train_voice_classifier(
    clips: Clips, voices: Sequence[str], spec: AudioSpec, **options: Unpack[TrainingOptions]
) -> tuple[TrainedClassifier[VoiceClassifier], Clips]:
    """The classifier of these voices, as `load_or_train`, and the clips that it did not learn from, one in SHARE_KEPT.

    The labels of those are places among `voices`; clips of other voices are left out. Kept are other takes of the same
    voices, drawn at random, so no word, pitch or rate is.
    """
    places = {name: place for place, name in enumerate(voices)}
    labels = torch.tensor([places.get(name, -1) for name in clips.speakers])
    kept, learned = split_takes(clips, voices)

    def build() -> VoiceClassifier:
        return VoiceClassifier(tuple(voices), **vars(spec))

    sides = [(clips.waveforms[part], labels[part]) for part in (learned, kept)]
    trained = load_or_train(build, *sides[0], *sides[1], num_voices=len(voices), **options)
    return trained, clips[kept]


def split_takes(clips: Clips, voices: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Places of the clips of these voices: one in SHARE_KEPT, drawn once and for all, and the others."""
    known = torch.tensor([i for i, name in enumerate(clips.speakers) if name in set(voices)], dtype=torch.int64)
    order = known[drawn(len(known), len(known), 0, "clips of voices")]
    return order[: len(order) // SHARE_KEPT], order[len(order) // SHARE_KEPT :]
