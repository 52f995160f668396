"""Whether a model speaks in the voice that it is asked for, as high and as fast."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.conditioning.voices import VoicedPicture
from synesthete.data.audio import as_float
from synesthete.evaluation.audio_features.audio_descriptors import track_pitch
from synesthete.evaluation.classifiers.speech import VoiceClassifier, load_or_train_voice_classifier
from synesthete.evaluation.metrics.metric import Z_95, Metric, accuracy, accuracy_metric, metric, per_class
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import shuffled
from synesthete.evaluation.steps import Finding
from synesthete.tasks.image_to_speech.measures import pad
from synesthete.tasks.task import SECTIONS

if TYPE_CHECKING:
    from synesthete.conditioning.speakers import SpeakerEncoder
    from synesthete.data.speech.corpus import Clips
    from synesthete.tasks.image_to_speech.evaluation import SpeechEvaluator
    from synesthete.types import SpokenPictures

NUM_ASKED = 400  # samples at most, and real clips
FAINT = 10 ** (-30 / 20)  # of the peak: where a word begins and ends


def asked_findings(of: SpeechEvaluator) -> Iterator[Finding]:
    """Of a model that knows voices: how often a classifier names the one asked for, and pitch and rate against made.

    Ceiling: real takes of the same voices that the classifier did not learn from, through the codec; the model may have
    learned from them.
    """
    conditioner, clips = of.pipeline.conditioner, of.prepared.spoken
    if clips is None or not isinstance(conditioner, VoicedPicture):
        return
    voices, spec = conditioner.voices, of.codec.spec
    trained, real = load_or_train_voice_classifier(clips, voices, spec, seed=of.seed, progress=of.progress)
    real = real[torch.arange(min(len(real), NUM_ASKED))]
    told = torch.tensor([voices.index(name) for name in real.speakers])
    rebuilt = of.through_codec(pad(real.waveforms, of.codec), real.labels)
    asked = ask(conditioner, of.pictures[:NUM_ASKED], clips, of.seed)
    made = of.speak(asked, "voices asked for", seed=seeding.derive(of.seed, "asked"))
    other, answers = shuffled(len(asked), of.seed), trained.classifier.classify(made.signal)
    best, by = accuracy(told, trained.classifier.classify(rebuilt.signal)), f"classifier of {len(voices)} voices"
    beside = (1 / len(voices), asked.voice[other], best)
    metrics = [accuracy_metric("voice_accuracy", asked.voice, answers, *beside, classifier=by)]
    words = of.labels[:NUM_ASKED]
    sides = (
        ("pitch", "voice", asked.pitch, asked.voice, real.pitches, told, lambda x: track_pitch(x, spec.sample_rate)[0]),
        ("rate", "word", asked.rate, words, real.rates, real.labels, lambda x: -durations(x).log()),
    )
    for what, within, wanted, groups, spoken, own, measure in sides:
        found = measure(made.signal)
        num = int((wanted.isfinite() & found.isfinite()).sum())
        if spoken is None or not wanted.isfinite().any():
            continue
        value, ceiling = correlation(wanted, found, groups), correlation(spoken, measure(rebuilt.signal), own)
        apart = correlation(wanted[other], found, groups)
        row: dict[str, Any] = {"variant": what, "what": what, "within": within, "num": num}
        spread = interval_of_correlation(value, num - len(groups.unique()))
        metrics.append(metric("asked_against_made", value, spread, 0.0, apart, ceiling, **row))
    whose = f"Asked for one of {len(voices)} voices, {metrics[0].value:.1%} of {len(asked)} samples are in that voice "
    said = [f"{whose}(by a classifier of them; chance {1 / len(voices):.1%}, real takes {best:.1%})."]
    if of.speakers is not None:
        metrics.append(given_clips(of, of.speakers, real, trained.classifier, best, by))
        said.append(f"Given a clip of one instead, {metrics[-1].value:.1%} are in its voice.")
    shares = per_class(asked.voice, answers, len(voices))
    table = Table(("voice", "named as asked"), list(zip(voices, shares, strict=True)), f"{len(asked)} samples")
    text = SECTIONS["speech.asked"].format(num=len(real), kept=trained.num_test)
    section = Section("Voices asked for", text, [table])
    yield Finding(metrics, [section], {"named_as_asked": dict(zip(voices, shares, strict=True))}, sentences=said)


def given_clips(
    of: SpeechEvaluator, speakers: SpeakerEncoder, clips: Clips, classifier: VoiceClassifier, ceiling: float, by: str
) -> Metric:
    """How often the voice of a clip, which nobody learned from, is named of what is said given that clip alone."""
    pictures = of.pictures[: len(clips)]
    num = len(pictures)
    true = torch.tensor([speakers.config.voices.index(name) for name in clips.speakers[:num]])
    shares = speakers.weigh(speakers.vectors_of(as_float(clips.waveforms[:num])))  # (n, V)
    raw = replace(of.pipeline.conditioner.compose(pictures), voice=shares)
    made = of.speak(raw, "voices of clips", seed=seeding.derive(of.seed, "clips as voices"))
    other, answers = shuffled(num, of.seed), classifier.classify(made.signal)
    beside = (1 / shares.shape[1], true[other], ceiling)
    return accuracy_metric("clip_voice_accuracy", true, answers, *beside, classifier=by)


def ask(conditioner: VoicedPicture, pictures: Tensor, clips: Clips, seed: int) -> SpokenPictures:
    """Each picture (n, C, H, W) in the next voice, at a rate, and a pitch where it has several, of those learned."""
    num, chance = len(pictures), seeding.generator(seed, "asked pitches and rates")
    raw = conditioner.compose(pictures)
    pitch, rate = (torch.rand(num, generator=chance) * (high - low) + low for low, high in conditioner.ranges)
    voice = torch.arange(num) % len(conditioner.voices)
    pitches = [math.nan] * len(clips) if clips.pitches is None else clips.pitches.tolist()
    counts = Counter(name for name, own in set(zip(clips.speakers, pitches, strict=True)) if math.isfinite(own))
    knows = torch.tensor([counts[name] > 1 for name in conditioner.voices])[voice]
    return replace(raw, voice=voice, pitch=pitch.where(knows, torch.nan), rate=rate)


def durations(waveforms: Tensor) -> Tensor:
    """Samples (n,) from the first to the last that is not FAINT beside the peak of its sound (n, S); at least 1."""
    loud = waveforms.abs() > FAINT * waveforms.abs().amax(dim=1, keepdim=True)
    places = torch.arange(waveforms.shape[1])
    last = places.where(loud, 0).amax(dim=1)
    first = places.where(loud, waveforms.shape[1]).amin(dim=1).minimum(last)
    return (last - first + 1).double()


def correlation(asked: Tensor, made: Tensor, groups: Tensor) -> float:
    """Of what was asked for with what was made, (n,) each, around the means of their groups (n,); NaN of nothing."""
    there = asked.isfinite() & made.isfinite()
    x, y, groups = asked[there].double(), made[there].double(), groups[there]
    for group in groups.unique():
        own = groups == group
        x[own], y[own] = x[own] - x[own].mean(), y[own] - y[own].mean()
    scale = (x.square().sum() * y.square().sum()).sqrt().item()
    return (x @ y).item() / scale if scale else math.nan


def interval_of_correlation(value: float, num: int) -> tuple[float, float] | None:
    """95%, of so many independent pairs (Fisher 1915); None of too few."""
    if num < 4 or not -1 < value < 1:
        return None
    half = Z_95 / math.sqrt(num - 3)
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
