"""What is lost to hearing and what to drawing: a linear probe reads the class from the sound's vector alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.classification import fit_linear_probe, probe_metrics
from synesthete.evaluation.samples import shuffled
from synesthete.tasks.audio_to_image.classification import CLASSIFIER

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_pairs import AudioImageSamples
    from synesthete.evaluation.metrics.classification import LinearProbe
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.classification import Answers

NUM_TRAINING = 2000  # sounds that the probe learns from
BATCH_SIZE = 64


def fit_sound_probe(pipeline: Any, train: AudioImageSamples, seed: int) -> LinearProbe | None:
    """A probe on the vectors of training sounds, as they are; None of a conditioner that has no such vectors."""
    if pipeline.conditioner.reads != "audio_text":
        return None
    order = torch.randperm(len(train.sound_labels), generator=seeding.generator(seed, "ear"))[:NUM_TRAINING]
    return fit_linear_probe(vectors(pipeline, train, order), train.sound_labels[order], seed)


@torch.no_grad()
def vectors(pipeline: Any, samples: AudioImageSamples, sounds: Tensor) -> Tensor:
    """What the conditioner's encoder makes of sounds by number (n,), (n, E)."""
    plain, conditioner = samples.plain(), pipeline.conditioner
    heard = [conditioner.embed_audio(plain.sounds_alone(part).to(pipeline.device)) for part in sounds.split(BATCH_SIZE)]
    return torch.cat([x.float().cpu() for x in heard])


def hearing_metrics(pipeline: Any, probe: LinearProbe, answers: Answers) -> list[Metric]:
    """The probe's accuracy on sounds that were held out, and how often the picture shows what the probe heard."""
    conditions = answers.conditions
    return probe_metrics(
        probe.classify(vectors(pipeline, conditions.samples, conditions.sounds)),
        conditions.labels,
        answers.seen,
        shuffled(len(conditions), answers.seed),
        num=conditions.num_sounds,
        chance=answers.chance,
        ceiling=answers.real,
        reading=("hearing", f"sound's vector, {answers.what}"),
        agreeing=("drawing: the picture shows", f"{answers.what}, {CLASSIFIER}, ", "heard"),
        variant=answers.what,
    )
