"""Measures of speech alone: what a probe reads from the condition, the nearest real clips, i2m's error, voices.

The author of the first system of this kind, i2m, evaluated it by nearest reference and generation error and never
measured what real speech scores on them. They are kept to be comparable, each with that ceiling beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.audio_features.dnsmos import Dnsmos, find_dnsmos
from synesthete.evaluation.audio_features.pitch import track_pitch
from synesthete.evaluation.classifiers.speech import QUIETEST, log_mel_of
from synesthete.evaluation.metrics.classification import accuracy, probe_metrics
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.reporting.figures import DECIBELS
from synesthete.evaluation.samples import drawn, encode_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.pictures import Pictures
    from synesthete.data.speech.corpus import Clips
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.samples import Generated
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
        parts = [] if condition.pooled is None else [condition.pooled]
        if condition.tokens is not None:
            kept = condition.tokens.new_ones(condition.tokens.shape[:2]) if condition.mask is None else condition.mask
            weight = kept.to(condition.tokens.dtype)[..., None]  # (B, L, 1)
            parts.append((condition.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))
        rows.append(torch.cat(parts, dim=1).float().cpu())
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
    for found, raw in preprocessed(pipeline, pictures, places, lambda *count: progress("seeing", *count)):
        rows.append(condition_features(pipeline, raw))
        read += found
    return torch.cat(rows), labels[read]


def seeing_metrics(
    seen: Tensor, labels: Tensor, other: Tensor, heard: Tensor, num_classes: int, real_heard: float
) -> list[Metric]:
    """The probe's accuracy, and how often what was heard (n,) is what the probe saw (n,).

    real_heard: the share of real clips that the same classifier hears rightly, the most that speaking can reach.
    """
    return probe_metrics(
        seen,
        labels,
        heard,
        other,
        num=len(labels),
        chance=1 / num_classes,
        ceiling=real_heard,
        reading=("seeing", "condition"),
        agreeing=("speaking: the mel classifier on x_0 hears", "", "saw"),
    )


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


def quality_metrics(made: Generated, real: Generated, sample_rate: int, progress: Progress) -> list[Metric]:
    """How many sounds are voiced, and how good they sound to DNSMOS where its networks are; real clips are the ceiling.

    The floor of the ratings is that of noise as loud as the sounds.
    """
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


def pad(waveforms: Tensor, codec: Any) -> Tensor:
    """int16 clips (n, S) as float in [-1, 1], as long as the codec's."""
    return F.pad(waveforms.float() / 32768, (0, max(0, codec.config.num_samples - waveforms.shape[-1])))


@dataclass(frozen=True)
class Diversity:
    """Spread around each picture's mean, by PITCH and TIMBRE: generated, and of two sets of real clips as large.

    pitches: semitones over 100 Hz, of the generated and of the first real set, NaN where a sound has no clear pitch;
    the spread of pitch is of the others. periodicity: its mean over the sounds of each set. by_class: class, then pitch
    generated and real, timbre generated and real.
    """

    spreads: dict[str, tuple[float, float, float]]
    pitches: tuple[Tensor, Tensor]
    voiced: tuple[float, float]
    periodicity: tuple[float, float]
    by_class: list[tuple[str, float, float, float, float]]
    num_pictures: int
    num_seeds: int

    def metrics(self) -> list[Metric]:
        """Spread as a share of real voices': 0 is one voice over and over, the ceiling is real voices again.

        Before it the share of sounds with a clear pitch, whose floor is noise: it tells how many the pitch's spread is
        of.
        """
        against = f"{self.num_pictures} pictures, {self.num_seeds} seeds each"
        share, ceiling = self.voiced
        spread = interval(share, len(self.pitches[0]))
        found = [metric("voiced", share, spread, chance=0.0, ceiling=ceiling, against=against)]
        for name, (generated, real, again) in self.spreads.items():
            value, ceiling = (each / real if real else math.nan for each in (generated, again))
            told: dict[str, Any] = {
                "variant": name.partition(" ")[0],
                "what": name.partition(" ")[0],
                "against": against,
            }
            found.append(metric("voice_diversity", value, chance=0.0, ceiling=ceiling, **told))
        return found


def timbres(log_mel: Tensor) -> Tensor:
    """The mean spectrum (n, F), in dB around its own mean, of the audible frames of log-mels (n, 1, F, T)."""
    x = log_mel.squeeze(1).clamp(min=QUIETEST)  # (n, F, T)
    level = x.exp().mean(dim=1, keepdim=True).log()
    weight = (level > level.amax(dim=2, keepdim=True) - AUDIBLE).float()  # (n, 1, T)
    spectrum = (x * weight).sum(dim=2) / weight.sum(dim=2)
    return (spectrum - spectrum.mean(dim=1, keepdim=True)) * DECIBELS


def spread(values: Tensor, labels: Tensor) -> float:
    """Standard deviation of values (n,) or (n, d) around the mean of their own label, over all labels and dimensions.

    NaN values are left out; NaN is returned where no label has two values.
    """
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
    """Two sets of real clips without a clip in common, `num` of each class in `classes`, from all voices there are.

    Returns waveforms (k, S) int16 and labels (k,) of each; fewer than `num` where a class has less than twice as many.
    """
    generator = seeding.generator(seed, "voices")
    waveforms, labels = torch.cat([c.waveforms for c in clips]), torch.cat([c.labels for c in clips])
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in classes.tolist():
        places = (labels == label).nonzero().flatten()
        places = places[torch.randperm(len(places), generator=generator)]
        size = min(num, len(places) // 2)
        halves[0].append(places[:size])
        halves[1].append(places[size : 2 * size])
    return [(waveforms[half], labels[half]) for half in map(torch.cat, halves)]


def measure_diversity(
    generated: Generated, sets: Sequence[Generated], codec: Any, class_names: Sequence[str]
) -> Diversity:
    """How many voices a model has, against two sets of real ones through the codec; labels as places in class_names."""
    found, periodicity = [], []
    for sound in (generated, *sets):
        pitch, clear = track_pitch(sound.signal, codec.spec.sample_rate)
        found.append((pitch, timbres(log_mel_of(codec, sound.x_0)), sound.labels))
        periodicity.append(clear.mean().item())
    classes = generated.labels.unique()
    by_class = []
    for label in classes.tolist():
        row = [spread(f[own == label], own[own == label]) for *both, own in found[:2] for f in both]
        by_class.append((class_names[label], row[0], row[2], row[1], row[3]))
    return Diversity(
        spreads={
            name: tuple(spread(features[place], features[2]) for features in found)  # type: ignore[misc]
            for place, name in enumerate((PITCH, TIMBRE))
        },
        pitches=(found[0][0], found[1][0]),
        voiced=(share_known(found[0][0]), share_known(found[1][0])),
        periodicity=(periodicity[0], periodicity[1]),
        by_class=by_class,
        num_pictures=len(classes),
        num_seeds=NUM_SEEDS,
    )


def share_known(values: Tensor) -> float:
    """The share of values (n,) that are numbers: of pitches, of sounds that have a clear one."""
    return values.isfinite().double().mean().item()


def thinned(clips: Clips, num: int, seed: int) -> Clips:
    """At most `num` of the clips, as many of each class: real speech of a hundred classes is more than is needed."""
    if len(clips) <= num:
        return clips
    order = torch.randperm(len(clips), generator=seeding.generator(seed, "thinned"))
    turn = torch.zeros_like(clips.labels)
    for label in clips.labels.unique():
        places = order[clips.labels[order] == label]
        turn[places] = torch.arange(len(places))
    kept = turn.argsort(stable=True)[:num].sort().values
    speakers = [clips.speakers[i] for i in kept.tolist()]
    return replace(clips, waveforms=clips.waveforms[kept], labels=clips.labels[kept], speakers=speakers)
