"""Measures of speech alone: what a probe reads from the condition, the nearest real clips, i2m's error, voices.

The author of the first system of this kind, i2m, evaluated it by nearest reference and generation error and never
measured what real speech scores on them. They are kept to be comparable, each with that ceiling beside it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.labelled import turns
from synesthete.evaluation.audio_features.audio_descriptors import track_pitch
from synesthete.evaluation.audio_features.dnsmos import Dnsmos, find_dnsmos
from synesthete.evaluation.classifiers.speech import QUIETEST, log_mel_of
from synesthete.evaluation.metrics.metric import (
    METRICS,
    Metric,
    accuracy,
    accuracy_metric,
    interval,
    interval_of_mean,
    metric,
)
from synesthete.evaluation.metrics.set_comparison import PooledFeatures, SampleSet, features_of, registered_metrics
from synesthete.evaluation.reporting.figures import DECIBELS, pitch_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.samples import Generated, drawn, encode_signals
from synesthete.evaluation.steps import Finding
from synesthete.tasks.task import SECTIONS

if TYPE_CHECKING:
    from synesthete.data.labelled import ImageSpeechPairs
    from synesthete.data.pictures import Pictures
    from synesthete.data.rows import Rows
    from synesthete.data.speech.corpus import Clips
    from synesthete.types import Progress

BATCH_SIZE = 50
NUM_RATED = 60  # sounds that DNSMOS rates; on a CPU it needs half a second for each
NUM_TRAINING = 5000  # pictures that the probe learns from
CLAMP = 10.0  # i2m's sampler kept x_0, a log-mel that was not normalised, between plus and minus this
NUM_REFERENCES = (1, 10)  # clips a class; i2m took one
GENERATED, SHUFFLED = "generated", "generated for another picture"
STRANGER, FELLOW = "a real clip of another class", "a real clip of the same class, another voice"
MEAN, COPY = "the mean of all real clips", "the clip itself"
NUM_PICTURES, NUM_SEEDS = 10, 10
AUDIBLE = 4.0  # nepers (35 dB) under the loudest frame
PITCH, TIMBRE = "pitch (semitones)", "timbre (dB)"


@torch.no_grad()
def condition_features(pipeline: Any, raw: Tensor) -> Tensor:
    """What the denoiser is told about pictures (n, C, H, W): pooled vector and mean of the tokens, (n, D)."""
    rows = []
    for part in raw.split(BATCH_SIZE):
        condition = pipeline.conditioner.encode(part.to(pipeline.device))
        rows.append(torch.cat(list(condition.mean_vectors().values()), dim=1))
    return torch.cat(rows)


def preprocessed(
    pipeline: Any, pictures: Pictures, places: Tensor, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[list[int], Tensor]]:
    """The readable pictures of these places as the conditioner takes them, (b, C, H, W), a batch at a time."""
    done = 0
    for part in places.split(BATCH_SIZE):
        read = dict(pictures.read(part.tolist()))
        if read:
            yield list(read), pipeline.preprocess(list(read.values()))
        done += len(part)
        if progress:
            progress(done, len(places))


def training_features(pipeline: Any, data: ImageSpeechPairs, seed: int, progress: Any) -> tuple[Tensor, Tensor]:
    """What the probe learns from: features (k, D) and labels (k,) of at most NUM_TRAINING training pictures."""
    pictures, labels = data.pictures("train")
    places = drawn(len(pictures), NUM_TRAINING, seed, "training pictures")
    rows, read = [], []
    for found, raw in preprocessed(pipeline, pictures, places, partial(progress, "seeing")):
        rows.append(condition_features(pipeline, raw))
        read += found
    return torch.cat(rows), labels[read]


def seeing_metrics(
    seen: Tensor,
    labels: Tensor,
    other: Tensor,
    heard: Mapping[str, Tensor],
    num_classes: int,
    real_heard: Mapping[str, float],
) -> list[Metric]:
    """The probe's accuracy, and how often what a classifier heard (n,) is what it saw (n,); real_heard is the most."""
    other_seen, other_labels, chance = seen[other], labels[other], 1 / num_classes
    beside = chance, other_labels, 1.0
    found = [accuracy_metric("probe_accuracy", labels, seen, *beside, title="seeing", what="condition")]
    for name, answers in heard.items():
        told: dict[str, Any] = {"title": f"speaking: the {name} hears", "what": "", "verb": "saw"}
        if len(found) > 1:
            told |= {"title": f"speaking: {name} hears", "variant": name}
        found.append(accuracy_metric("probe_agreement", seen, answers, chance, other_seen, real_heard[name], **told))
    return found


def reference_places(labels: Tensor, speakers: Sequence[str], num: int) -> Tensor:
    """Which clips (k,) stand for the classes: `num` of each, or all it has, from as many voices as there are.

    The first one of every class is by the same voice wherever that voice says the class.
    """
    taken: Counter[tuple[int, str]] = Counter()
    turns = []
    for place, (label, speaker) in enumerate(zip(labels.tolist(), speakers, strict=True)):
        turns.append((label, taken[label, speaker], speaker, place))
        taken[label, speaker] += 1
    by_class = itertools.groupby(sorted(turns), key=lambda turn: turn[0])
    return torch.tensor([place for _, own in by_class for *_, place in itertools.islice(own, num)])


def nearest_references(log_mels: Tensor, references: Tensor, reference_labels: Tensor) -> Tensor:
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
        references = log_mel_of(codec, encode_signals(codec, pad(clips.waveforms[places], codec)))
        answers, ceiling = (
            nearest_references(log_mel_of(codec, x.x_0), references, clips.labels[places]) for x in (said, real)
        )
        who = "i2m's metric, nearest of 1 real clip a class" if num == 1 else f"nearest of {num} real clips a class"
        beside = (1 / len(clips.class_names), labels[other], accuracy(true, ceiling))
        told: dict[str, Any] = {"variant": f"nearest of {num}", "classifier": who}
        metrics.append(accuracy_metric("accuracy", labels, answers, *beside, **told))
    return metrics


class Pairing(NamedTuple):
    """Places (n,) of a real clip for each sample: of its class; of its class by another voice, or -1; of another."""

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
        own = clip_labels == label
        paired = draw(own)
        rows.append((paired, draw(own & (voices != voices[paired])), draw(~own)))
    return Pairing(*torch.tensor(rows).unbind(dim=1))


def generation_errors(
    codec: Any, x_0: Tensor, real: Tensor, other: Tensor, pairing: Pairing, as_i2m: bool
) -> dict[str, Tensor]:
    """Mean square errors (n,) against each sample's paired clip, of what was generated and of what it is read against.

    x_0: (n, 1, F, T), generated. real: (m, 1, F, T). as_i2m: in log-mel, in nepers, everything that is compared
    with a clip clamped to CLAMP, the clip not: where the clip is silent (-16.118) that alone is (16.118 - 10)^2 = 37.4.
    Otherwise in x_0's own unit variance, without a clamp.
    """
    limit = CLAMP if as_i2m else torch.inf
    if as_i2m:
        x_0, real = log_mel_of(codec, x_0), log_mel_of(codec, real)
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


def own_metrics(
    made: Generated,
    real: Generated,
    clips: Clips,
    codec: Any,
    through_codec: Callable[[Tensor, Tensor], Generated],
    seed: int,
) -> list[Metric]:
    """The metrics registered with a `compute`, of waveforms (n, S); ceiling: other clips; chance: these dealt out."""
    if all(row.compute is None for row in METRICS.values()):
        return []
    places, features = drawn(len(clips), len(real), seed, "other clips"), PooledFeatures()
    other = through_codec(pad(clips.waveforms[places], codec), clips.labels[places])
    order = torch.randperm(other.signal.numel(), generator=seeding.generator(seed, "dealt"))
    dealt = replace(other, signal=other.signal.flatten()[order].view_as(other.signal))
    held_out, model, best, worst = (
        SampleSet(one.signal, one.labels, features_of(features, one.signal)) for one in (real, made, other, dealt)
    )
    against = f"{features.name}, n = {len(made)}, {len(real)} real"
    return registered_metrics(held_out, model, real=best, worst=worst, against=against)


def quality_metrics(made: Generated, real: Generated, sample_rate: int, progress: Progress) -> list[Metric]:
    """How many sounds are voiced, and how DNSMOS rates them where it is; ceiling: real clips; floor: noise."""
    voiced, ceiling = (share_known(track_pitch(sound.signal, sample_rate)[0]) for sound in (made, real))
    num = len(made)
    beside = (interval(voiced, num), 0.0, None, ceiling)
    found = [metric("voiced", voiced, *beside, variant="all samples", against=f"n = {num}")]
    if find_dnsmos() is None:
        return found
    rated = min(NUM_RATED, num)
    sounds = made.signal[:rated]
    noise = torch.randn(sounds.shape, generator=seeding.generator(0, "noise to rate"))
    noise = noise * sounds.square().mean(dim=1, keepdim=True).sqrt()
    ratings = [
        Dnsmos().rate(waveforms, sample_rate, partial(progress, f"rating {what}"))
        for what, waveforms in (("samples", sounds), ("real clips", real.signal[:rated]), ("noise", noise.clamp(-1, 1)))
    ]
    for name in ratings[0]:
        own, best, worst = (rating[name] for rating in ratings)
        key, what = ("p808", "P.808") if name == "p808" else (f"dnsmos_{name}", f"DNSMOS {name}")
        beside = (interval_of_mean(own), worst.mean().item(), None, best.mean().item())
        found.append(metric(key, own.mean().item(), *beside, what=what, num=rated))
    return found


def pad(waveforms: Tensor | Rows, codec: Any) -> Tensor:
    """int16 clips (n, S) as float in [-1, 1], as long as the codec's."""
    return F.pad(waveforms[:].float() / 32768, (0, max(0, codec.config.num_samples - waveforms.shape[-1])))


def timbres(log_mel: Tensor) -> Tensor:
    """The mean spectrum (n, F), in dB around its own mean, of the audible frames of log-mels (n, 1, F, T)."""
    x = log_mel.squeeze(1).clamp(min=QUIETEST)  # (n, F, T)
    level = x.exp().mean(dim=1, keepdim=True).log()
    weight = (level > level.amax(dim=2, keepdim=True) - AUDIBLE).float()  # (n, 1, T)
    spectrum = (x * weight).sum(dim=2) / weight.sum(dim=2)
    return (spectrum - spectrum.mean(dim=1, keepdim=True)) * DECIBELS


def spread(values: Tensor, labels: Tensor) -> float:
    """Standard deviation of values (n,) or (n, d) around their label's mean, NaN left out; NaN of no two values."""
    values = values.double().view(len(values), -1)
    kept = values.isfinite().all(dim=1)
    values, labels = values[kept], labels[kept]
    squares, freedom = 0.0, 0
    for label in labels.unique():
        own = values[labels == label]
        squares += (own - own.mean(dim=0)).square().sum().item()
        freedom += len(own) - 1
    return (squares / (freedom * values.shape[1])) ** 0.5 if freedom else float("nan")


def draw_real(clips: list[Clips], classes: Tensor, num: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Two sets (waveforms (k, S) int16, labels (k,)) without a clip in common, at most `num` of each of the classes."""
    generator = seeding.generator(seed, "voices")
    waveforms, labels = torch.cat([c.waveforms[:] for c in clips]), torch.cat([c.labels for c in clips])
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in classes.tolist():
        places = (labels == label).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=generator)]
        size = min(num, len(places) // 2)
        halves[0].append(places[:size])
        halves[1].append(places[size : 2 * size])
    return [(waveforms[half], labels[half]) for half in map(torch.cat, halves)]


def voices_finding(generated: Generated, sets: Sequence[Generated], codec: Any, class_names: Sequence[str]) -> Finding:
    """How many voices a model has, against two sets of real ones through the codec; labels as places in class_names.

    Spread around each picture's mean, by PITCH and TIMBRE, as a share of real voices': 0 is one voice over and over,
    the ceiling is real voices again. Before it the share of sounds with a clear pitch, whose floor is noise: it tells
    how many the pitch's spread is of.
    """
    labels, features, clear, voiced = [], [], [], []
    for sound in (generated, *sets):
        pitch, periodicity = track_pitch(sound.signal, codec.spec.sample_rate)  # pitch NaN where there is no clear one
        features.append((pitch, timbres(log_mel_of(codec, sound.x_0))))
        labels.append(sound.labels)
        clear.append(periodicity.mean().item())
        voiced.append(share_known(pitch))
    spreads = {
        name: [spread(each[place], own) for each, own in zip(features, labels, strict=True)]
        for place, name in enumerate((PITCH, TIMBRE))
    }
    by_class = []
    for label in generated.labels.unique().tolist():
        kept = [(each, own == label) for each, own in zip(features[:2], labels, strict=False)]
        row = [spread(each[place][own], labels[i][own]) for place in (0, 1) for i, (each, own) in enumerate(kept)]
        by_class.append((class_names[label], *row))
    against = f"{len(by_class)} pictures, {NUM_SEEDS} seeds each"
    share = interval(voiced[0], len(generated))
    metrics = [metric("voiced", voiced[0], share, chance=0.0, ceiling=voiced[1], against=against)]
    for name, (made, real, again) in spreads.items():
        value, ceiling = (each / real if real else math.nan for each in (made, again))
        told: dict[str, Any] = {"variant": name.partition(" ")[0], "what": name.partition(" ")[0], "against": against}
        metrics.append(metric("voice_diversity", value, chance=0.0, ceiling=ceiling, **told))
    shares = [("share with a clear pitch", *voiced[:2]), ("mean periodicity, 0 to 1", *clear[:2])]
    columns = ("class", "pitch, generated", "pitch, real", "timbre, generated", "timbre, real")
    items: list[Table | Medium] = [
        Table(("", "generated", "real voices"), shares),
        Table(("spread of", "generated", "real voices", "real voices again"), [(n, *x) for n, x in spreads.items()]),
        Medium("pitch", to_png(pitch_figure(features[0][0], features[1][0], against))),
        Table(columns, by_class, "by class (semitones, dB)"),
    ]
    return Finding(metrics, [Section("Voices", SECTIONS["speech.voices"], items)], {"voice_spread": spreads})


def share_known(values: Tensor) -> float:
    """The share of values (n,) that are numbers: of pitches, of sounds that have a clear one."""
    return values.isfinite().double().mean().item()


def thinned(clips: Clips, num: int, seed: int) -> Clips:
    """At most `num` of the clips, as many of each class: real speech of a hundred classes is more than is needed."""
    if len(clips) <= num:
        return clips
    order = torch.randperm(len(clips), generator=seeding.generator(seed, "thinned"))
    turn = torch.zeros_like(clips.labels)
    turn[order] = turns(clips.labels[order])
    return clips[turn.argsort(stable=True)[:num].sort().values]
