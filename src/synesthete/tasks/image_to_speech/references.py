"""Speech against single real clips: i2m's classifier by nearest reference, and its generation error.

The author of the first system of this kind evaluated it by these two and never measured what real speech scores on
them. They are kept to be comparable, each with that ceiling beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.samples import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.data.speech.corpus import Clips
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.samples import Generated

CLAMP = 10.0  # i2m's sampler kept x_0, a log-mel that was not normalised, between plus and minus this
NUM_REFERENCES = (1, 10)  # clips a class; i2m took one
GENERATED, SHUFFLED = "generated", "generated for another picture"
STRANGER, FELLOW = "a real clip of another class", "a real clip of the same class, another voice"
MEAN, COPY = "the mean of all real clips", "the clip itself"


def reference_places(labels: Tensor, speakers: Sequence[str], num: int) -> Tensor:
    """Which clips (k,) stand for the classes: `num` of each, or all it has, from as many voices as there are.

    The first one of every class is by the same voice wherever that voice says the class.
    """
    order = {speaker: i for i, speaker in enumerate(sorted(set(speakers)))}
    taken: dict[tuple[int, str], int] = {}
    turns = []
    for place, (label, speaker) in enumerate(zip(labels.tolist(), speakers, strict=True)):
        take = taken[label, speaker] = taken.get((label, speaker), -1) + 1
        turns.append((label, take, order[speaker], place))
    chosen: dict[int, list[int]] = {}
    for label, _, _, place in sorted(turns):
        if len(chosen.setdefault(label, [])) < num:
            chosen[label].append(place)
    return torch.tensor([place for places in chosen.values() for place in places])


def nearest(log_mels: Tensor, references: Tensor, reference_labels: Tensor) -> Tensor:
    """The class (n,) of the reference (k, 1, F, T) with the least mean square error to each log-mel (n, 1, F, T)."""
    return reference_labels[torch.cdist(log_mels.flatten(1), references.flatten(1)).argmin(dim=1)]


def nearest_metrics(codec: Any, said: Generated, other: Tensor, real: Generated, clips: Clips) -> list[Metric]:
    """Accuracy by the nearest reference, for each of NUM_REFERENCES.

    other: (n,), whose picture counts in place of each sample's for shuffled. real: clips through the codec, which are
    the ceiling. clips: what the references are drawn from, of voices that are in neither.
    """
    labels, true = said.labels, real.labels
    metrics = []
    for num in NUM_REFERENCES:
        places = reference_places(clips.labels, clips.speakers, num)
        references = log_mel_of(codec, encode(codec, pad(clips.waveforms[places], codec)))
        answers, ceiling = (nearest(log_mel_of(codec, x.x_0), references, clips.labels[places]) for x in (said, real))
        share, wrong = accuracy(labels, answers), accuracy(labels[other], answers)
        who = "i2m's metric, nearest of 1 real clip a class" if num == 1 else f"nearest of {num} real clips a class"
        beside = (interval(share, len(labels)), 1 / len(clips.class_names), wrong, accuracy(true, ceiling))
        metrics.append(metric("accuracy", share, *beside, variant=f"nearest of {num}", classifier=who, num=len(labels)))
    return metrics


@dataclass(frozen=True)
class Pairing:
    """For each of n samples, places of real clips: of its class; of its class by another voice; of another class.

    fellow: -1 where no other voice says the class.
    """

    paired: Tensor
    fellow: Tensor
    stranger: Tensor


def pair(labels: Tensor, clip_labels: Tensor, speakers: Sequence[str], seed: int) -> Pairing:
    """Clips for samples of classes `labels` (n,), drawn from those of clip_labels (m,) by speakers (m)."""
    generator = seeding.generator(seed, "pairing")
    voices = torch.tensor([sorted(set(speakers)).index(name) for name in speakers])

    def draw(among: Tensor) -> int:
        places = among.nonzero().flatten()
        return int(places[torch.randint(len(places), (), generator=generator)]) if len(places) else -1

    rows = []
    for label in labels.tolist():
        paired = draw(clip_labels == label)
        rows.append(
            (paired, draw((clip_labels == label) & (voices != voices[paired])), draw(clip_labels != label)),
        )
    return Pairing(*torch.tensor(rows).unbind(dim=1))


def generation_errors(
    codec: Any, x_0: Tensor, real: Tensor, other: Tensor, pairing: Pairing, as_i2m: bool
) -> dict[str, Tensor]:
    """Mean square errors (n,) against each sample's paired clip, of what was generated and of what it is read against.

    x_0: (n, 1, F, T), generated. real: (m, 1, F, T). as_i2m: in log-mel, in nepers, everything that is compared
    with a clip clamped to CLAMP, the clip not: where the clip is silent (-16.118) that alone is (16.118 - 10)^2 = 37.4.
    Otherwise in x_0's own unit variance, without a clamp.
    """
    if as_i2m:
        x_0, real = log_mel_of(codec, x_0), log_mel_of(codec, real)
        limit = CLAMP
    else:
        limit = torch.inf
    target = real[pairing.paired]

    def error(guess: Tensor, of: Tensor = target) -> Tensor:
        return (guess.clamp(-limit, limit) - of).square().flatten(1).mean(dim=1)

    there = pairing.fellow >= 0
    return {
        GENERATED: error(x_0),
        SHUFFLED: error(x_0, target[other]),
        STRANGER: error(real[pairing.stranger]),
        FELLOW: error(real[pairing.fellow[there]], target[there]),
        MEAN: error(real.mean(dim=0, keepdim=True)),
        COPY: error(target),
    }


def generation_metrics(
    codec: Any, speech: Generated, real: Tensor, other: Tensor, pairing: Pairing
) -> tuple[list[Metric], dict[str, tuple[float, float]]]:
    """The generation error both ways, and what everything else scores on it: (as i2m, rightly scaled)."""
    both = [generation_errors(codec, speech.x_0, real, other, pairing, as_i2m) for as_i2m in (True, False)]
    metrics = []
    kinds = (("generation_mse_i2m", "log-mel clamped at -10"), ("generation_mse", "x_0, not clamped"))
    for (key, how), errors in zip(kinds, both, strict=True):
        means = {name: each.mean().item() if len(each) else None for name, each in errors.items()}
        value, spread = errors[GENERATED].mean().item(), interval_of_mean(errors[GENERATED])
        beside = (spread, means[STRANGER], means[SHUFFLED], means[FELLOW])
        metrics.append(metric(key, value, *beside, how=how, num=len(speech)))
    return metrics, {key: (both[0][key].mean().item(), both[1][key].mean().item()) for key in both[0]}


def pad(waveforms: Tensor, codec: Any) -> Tensor:
    """int16 clips (n, S) as float in [-1, 1], as long as the codec's."""
    return F.pad(waveforms.float() / 32768, (0, max(0, codec.config.num_samples - waveforms.shape[-1])))
