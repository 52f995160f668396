"""What is lost to hearing and what to drawing: a linear probe reads the class from the sound's vector alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.table import metric
from synesthete.evaluation.speech.seeing import fit_probe
from synesthete.evaluation.subsampling import shuffled
from synesthete.tasks.audio_to_image.classification import CLASSIFIER

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_samples import AudioImageSamples
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.speech.seeing import Probe
    from synesthete.tasks.audio_to_image.classification import Answers

NUM_TRAINING = 2000  # sounds that the probe learns from
BATCH_SIZE = 64


def fit_sound_probe(pipeline: Any, train: AudioImageSamples, num_classes: int, seed: int) -> Probe | None:
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


def probe_metrics(pipeline: Any, probe: Probe, answers: Answers) -> list[Metric]:
    """The probe's accuracy on sounds that were held out, and how often the picture shows what the probe heard."""
    conditions, num, chance = answers.conditions, answers.conditions.num_sounds, answers.chance
    heard = probe.answers(vectors(pipeline, conditions.samples, conditions.sounds))
    labels, order = conditions.labels, shuffled(len(conditions), answers.seed)
    share, agreed = accuracy(labels, heard), accuracy(heard, answers.seen)
    told: dict[str, Any] = {
        "what": f"sound's vector, {answers.what}",
        "title": "hearing",
        "variant": answers.what,
        "num": num,
    }
    shown: dict[str, Any] = {
        "what": f"{answers.what}, {CLASSIFIER}, ",
        "title": "drawing: the picture shows",
        "verb": "heard",
    }
    beside = (interval(agreed, num), chance, accuracy(heard[order], answers.seen), answers.real)
    return [
        metric("probe_accuracy", share, interval(share, num), chance, accuracy(labels[order], heard), 1.0, **told),
        metric("probe_agreement", agreed, *beside, variant=answers.what, num=len(conditions), **shown),
    ]
