"""What is lost to hearing and what to painting: a linear probe reads the class from the sound's vector alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.hearing.answers import JUDGE
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.speech.seeing import fit_probe
from synesthete.evaluation.subsampling import shuffled

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_samples import AudioImageSamples
    from synesthete.evaluation.hearing.answers import Answers
    from synesthete.evaluation.speech.seeing import Probe

NUM_TRAINING = 2000  # sounds that the probe learns from
BATCH_SIZE = 64


def fit_ear(pipeline: Any, train: AudioImageSamples, num_classes: int, seed: int) -> Probe | None:
    """A probe on the vectors of training sounds, as they are; None of a conditioner that has no such vectors."""
    if pipeline.conditioner.reads != "audio_text":
        return None
    order = torch.randperm(len(train.sound_labels), generator=seeding.generator(seed, "ear"))[:NUM_TRAINING]
    return fit_probe(vectors(pipeline, train, order), train.sound_labels[order], num_classes, seed)


@torch.no_grad()
def vectors(pipeline: Any, samples: AudioImageSamples, sounds: Tensor) -> Tensor:
    """What the conditioner's encoder makes of sounds by number (n,), (n, E)."""
    plain, conditioner = samples.plain(), pipeline.conditioner
    heard = [conditioner.embed_audio(plain.sounds_alone(part).to(pipeline.device)) for part in sounds.split(BATCH_SIZE)]
    return torch.cat([x.float().cpu() for x in heard])


def ear_metrics(pipeline: Any, probe: Probe, answers: Answers) -> list[Metric]:
    """The probe's accuracy on sounds that were held out, and how often the picture shows what the probe heard."""
    telling, num = answers.telling, answers.telling.num_sounds
    heard = probe.answers(vectors(pipeline, telling.samples, telling.sounds))
    order = shuffled(len(telling), answers.seed)
    share, agreed = accuracy(telling.labels, heard), accuracy(heard, answers.seen)
    return [
        Metric(
            f"hearing: accuracy of a linear probe on the sound's vector, {answers.what} (n = {num})",
            share,
            interval(share, num),
            answers.chance,
            accuracy(telling.labels[order], heard),
            1.0,
        ),
        Metric(
            f"painting: the picture shows what the probe heard, {answers.what} ({JUDGE}, n = {len(telling)})",
            agreed,
            interval(agreed, num),
            answers.chance,
            accuracy(heard[order], answers.seen),
            answers.real,
        ),
    ]
