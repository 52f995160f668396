"""The report on a picture-to-speech model, from its pictures to its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.denoising import TRACED
from synesthete.evaluation.recognizers.panel import DECODED, LISTENER, X_0
from synesthete.evaluation.reporting.figures import (
    difference_figure,
    spectrogram_figure,
    sweep_figure,
    timestep_figure,
    to_png,
)
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, notes_section
from synesthete.evaluation.reporting.sounds import encode_wav
from synesthete.evaluation.speech.sections import (
    by_class,
    confusions,
    errors,
    picture_png,
    restored,
    transcripts,
    voices,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.speech.measures import SpeechEvaluation

NUM_SHOWN = 20  # classes with a sample to see and hear
NUM_FAILURES = 6


def speech_report(pipeline: Any, evaluation: SpeechEvaluation, facts: dict[str, Any] | None = None) -> Report:
    """The report on what `evaluate_speech` found. facts: what was measured, when and how."""
    default = pipeline.sampling_settings()["guidance_scale"]
    sections = [
        Section("Heard", _HEARD, [gallery(pipeline, evaluation, _shown(evaluation))]),
        *_failures(pipeline, evaluation),
        by_class(evaluation),
        confusions(evaluation),
        *transcripts(evaluation),
        voices(evaluation),
        Section("Guidance", _SWEEP.format(num=evaluation.num_swept), _sweep(evaluation, default)),
        Section("Loss by timestep", _TRACE.format(num=evaluation.num_traced), _trace(evaluation)),
        restored(pipeline, evaluation),
        errors(evaluation),
        Section("The codec alone", _CODEC.format(num=evaluation.num_real), _codec(pipeline, evaluation)),
    ]
    sections += notes_section(evaluation.notes)
    return Report(
        title=f"Does it speak? {(facts or {}).get('model', '')}".strip(),
        summary=summary(evaluation),
        facts=facts or {},
        metrics=evaluation.metrics,
        sections=sections,
        data=evaluation.to_dict(),
    )


def summary(evaluation: SpeechEvaluation) -> str:
    """The finding in two or three sentences."""
    sentences = []
    for name in (X_0, LISTENER):
        if name in evaluation.answers:
            metric = evaluation.metric(name)
            sentences.append(
                f"{metric.value:.1%} of {len(evaluation.labels)} pictures are named rightly ({name}; "
                f"chance {metric.chance:.1%}, real clips {metric.ceiling:.1%})."
            )
    if evaluation.seen is not None:
        seeing, speaking = evaluation.metric("seeing"), evaluation.metric("speaking")
        sentences.append(
            f"A linear probe on the condition names {seeing.value:.1%} of them; what the probe saw is what is heard in "
            f"{speaking.value:.1%}."
        )
    best = evaluation.metric(X_0)
    if best.interval and best.chance is not None and best.interval[0] <= best.chance:
        sentences.append("That is no better than guessing: this model does not speak (yet).")
    return " ".join(sentences)


def _shown(evaluation: SpeechEvaluation) -> list[int]:
    """The first sample of each class that has one; of many classes, of some of them, evenly."""
    places = evaluation.first_of_each()
    num = min(NUM_SHOWN, len(places))
    return [places[i * len(places) // num] for i in range(num)]


def gallery(pipeline: Any, evaluation: SpeechEvaluation, places: Sequence[int]) -> Gallery:
    """Picture, spectrogram, sound and what was heard, for the samples at `places`."""
    log_mels = log_mel_of(pipeline.codec, evaluation.speech.x_0[list(places)])
    spec = pipeline.codec.spec
    cards = []
    for place, log_mel in zip(places, log_mels, strict=True):
        word = evaluation.class_names[int(evaluation.labels[place])]
        media = [
            Medium(
                f"picture-{place}",
                picture_png(evaluation.pictures[place]),
                f"the picture given: {word}",
                pixelated=True,
            ),
            Medium(f"spectrogram-{place}", to_png(spectrogram_figure(log_mel[0], spec, size=(3.4, 2.5)), 110)),
            Medium(f"sound-{place}", encode_wav(evaluation.speech.waveforms[place], spec.sample_rate), "listen", "wav"),
        ]
        cards.append(Card(word, media, [f"{name}: {_answer(evaluation, name, place)}" for name in evaluation.answers]))
    return Gallery(cards)


def _answer(evaluation: SpeechEvaluation, name: str, place: int) -> str:
    answer = int(evaluation.answers[name][place])
    return "nothing" if answer < 0 else evaluation.class_names[answer]


def _failures(pipeline: Any, evaluation: SpeechEvaluation) -> list[Section]:
    """A section with samples that were misheard, those that most judges misheard first."""
    wrong = torch.stack([found != evaluation.labels for found in evaluation.answers.values()]).sum(dim=0)
    order = wrong.argsort(descending=True, stable=True)[:NUM_FAILURES]
    places = [int(place) for place in order if wrong[place]]
    if not places:
        return []
    text = f"{int((wrong > 0).sum())} of {len(wrong)} samples were misheard by one judge or more; the worst first."
    return [Section("Misheard", text, [gallery(pipeline, evaluation, places)])]


def _sweep(evaluation: SpeechEvaluation, default: float) -> list[Table | Medium]:
    names = [name for name in evaluation.answers if name != DECODED]
    scales = list(evaluation.sweep)
    curves = {name: [evaluation.sweep[scale][name] for scale in scales] for name in names}
    chance = 1 / len(evaluation.class_names)
    title = f"n = {evaluation.num_swept} at each scale, same noise; bars: 95%"
    figure = sweep_figure(scales, curves, evaluation.ceilings, chance, title, default)
    rows = [(scale, *(evaluation.sweep[scale][name][0] for name in evaluation.answers)) for scale in scales]
    return [Medium("guidance", to_png(figure)), Table(("guidance scale", *evaluation.answers), rows)]


def _trace(evaluation: SpeechEvaluation) -> list[Table | Medium]:
    title = f"real clips of unheard voices, n = {evaluation.num_traced}"
    figure = timestep_figure(TRACED, evaluation.trace, title, evaluation.mean_clip_error)
    rows = list(zip(TRACED, *evaluation.trace.values(), strict=True))
    return [Medium("loss-by-timestep", to_png(figure)), Table(("t / T", *evaluation.trace), rows)]


def _codec(pipeline: Any, evaluation: SpeechEvaluation) -> list[Table | Medium]:
    rows = [(name, *vars(found).values()) for name, found in evaluation.round_trip.items()]
    columns = ("compared", "mean absolute", "mean square", "largest", "SNR (dB)", "Pearson")
    items: list[Table | Medium] = [Table(columns, rows)]
    if evaluation.heard_directly is not None:
        heard = [
            ("as recorded", evaluation.heard_directly, evaluation.num_real),
            ("through the codec", evaluation.ceilings[LISTENER], evaluation.num_real),
        ]
        items.append(Table(("real clips, heard by pocketsphinx", "accuracy", "n"), heard))
    figure = difference_figure(*evaluation.example, pipeline.codec.spec, "a real clip")
    return [*items, Medium("codec-difference", to_png(figure))]


_HEARD = (
    "One picture of each class (of twenty classes where there are more), what the model said to it at its own "
    "settings, and what each judge heard."
)
_SWEEP = "The first {num} pictures again, on the same noise, at other guidance scales. Table: share right."
_TRACE = (
    "How far the network's guess of a clean clip is from the clip, from little noise to nearly nothing but noise, with "
    "{num} real clips of voices that it never heard. A network that uses its picture is better with the right one "
    "than with another, and most of all near noise."
)
_CODEC = (
    "{num} real clips encoded and decoded, without any model: the ceiling of what it can say. A log-mel has no phase, "
    "so the waveforms differ even where they sound alike. A neper is 8.7 dB; cells of exact digital silence, which the "
    "decoder fills with faint noise, weigh most in the log-mel figures."
)
