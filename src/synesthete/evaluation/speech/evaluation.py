"""Does it speak? What a picture-to-speech model is worth, by a judge, a listener and its own loss."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.image_speech_pairs import ImageSpeechSamples
from synesthete.evaluation.classifiers.speech import log_mel_of, own_classifier_metric
from synesthete.evaluation.denoising import (
    TRACED,
    denoising_errors,
    denoising_metrics,
    sensitivity_metric,
)
from synesthete.evaluation.metrics.classification import accuracy, confusion, per_class
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.metrics.round_trip import difference
from synesthete.evaluation.recognizers.panel import X_0, make_panel, whisper_metric
from synesthete.evaluation.reporting.figures import QUIETEST
from synesthete.evaluation.reporting.provenance import listed, provenance
from synesthete.evaluation.reporting.report import write_report
from synesthete.evaluation.speech.diversity import measure_diversity
from synesthete.evaluation.speech.measures import SpeechEvaluation, guidance_sweep, thinned
from synesthete.evaluation.speech.page import speech_report
from synesthete.evaluation.speech.references import generation_metrics, nearest_metrics, pair
from synesthete.evaluation.speech.restoring import restorations
from synesthete.evaluation.speech.seeing import NUM_TRAINING, features_of, fit_probe, fitted, seeing_metrics
from synesthete.evaluation.speech.speaking import (
    Speech,
    encoded,
    pad,
    seconds_per_sample,
    speak,
    speed_metrics,
    through_codec,
)
from synesthete.evaluation.subsampling import drawn, first_of_each, shuffled
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.speech.clips import Clips
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier

    Progress = Callable[[str, int, int], None]

GUIDANCE = (1.0, 1.5, 3.0, 5.0, 7.5)
NUM_SWEPT = 200  # samples at each guidance scale
NUM_TRACED = 100  # samples for the loss by timestep
NUM_RESTORED = 4  # pictures in the figure of clips denoised in one step
NUM_REAL, CLIPS_PER_CLASS = 1000, 12  # real clips: the larger of both, and no fewer than pictures


def evaluate(
    pipeline: Any,
    data: ImageSpeechPairs,
    corpus_folder: Path,
    out: Path,
    *,
    model: str = "",
    num: int = 500,
    guidance: Sequence[float] = GUIDANCE,
    seed: int = 0,
    listener: str = "auto",
    command: str | None = None,
    judge: TrainedClassifier[SpeechClassifier] | None = None,
    own_judge: TrainedClassifier[SpeechClassifier] | None = None,
    progress: Progress | None = None,
) -> SpeechEvaluation:
    """Evaluate a model on its data's test pictures and write the report into the folder `out`.

    corpus_folder: where `data.build` spoke the corpus. model, command: how the report calls them; the command line of
    this process where None. listener: as `panel.make_panel`. own_judge: the one that is kept with the model, which is
    then measured as well. progress(what, done, total).

    Raises:
        InputError: as `evaluate_speech` and `write_report`, or a model of other classes than the data's.
    """
    if pipeline.class_names and tuple(pipeline.class_names) != tuple(data.class_names):
        raise InputError(
            f"the model names {listed(pipeline.class_names)}, the data {listed(data.class_names)}; "
            "evaluate it on the data of its own recipe"
        )
    start = datetime.now(UTC)
    report = progress or (lambda *_: None)
    pictures, labels = data.pictures("test")
    chosen = drawn(len(pictures), num, seed, "test pictures")
    readable = list(fitted(pipeline, pictures, chosen, lambda *count: report("pictures", *count)))
    if not readable:
        raise InputError("not one readable picture to speak; give a test split with some")
    raw, labels = torch.cat([part for _, part in readable]), labels[[i for places, _ in readable for i in places]]
    real, judge_clips = data.clips(corpus_folder, "test"), data.clips(corpus_folder, "judge")
    evaluation = evaluate_speech(
        pipeline,
        raw,
        labels,
        real,
        judge_clips,
        words=[data.words.get(name, name) for name in data.class_names],
        num=num,
        guidance=guidance,
        seed=seed,
        listener=listener,
        judge=judge,
        trained_on=training_features(pipeline, data, seed, report),
        progress=progress,
    )
    if own_judge is not None:
        evaluation.metrics.append(own_classifier_metric(own_judge, real))
    evaluation.skipped = [*pictures.skipped, *real.skipped]
    evaluation.notes += [f"skipped {name}" for name in evaluation.skipped]
    facts = provenance(pipeline, start, model, command) | {
        "pictures": f"{len(raw)} of {len(pictures)} of the test split, seed {seed}",
        "vocoder": pipeline.codec.vocoder_in_use,
        "mel judge": judge_fact(evaluation, len(judge_clips), len(set(judge_clips.speakers))),
    }
    write_report(speech_report(pipeline, evaluation, facts), Path(out))
    return evaluation


def evaluate_speech(
    pipeline: Any,
    pictures: Tensor,
    labels: Tensor,
    real: Clips,
    judge_clips: Clips,
    *,
    words: Sequence[str | Sequence[str]] | None = None,
    num: int = 500,
    guidance: Sequence[float] = GUIDANCE,
    seed: int = 0,
    listener: str = "auto",
    judge: TrainedClassifier[SpeechClassifier] | None = None,
    trained_on: tuple[Tensor, Tensor] | None = None,
    progress: Progress | None = None,
) -> SpeechEvaluation:
    """Every figure of a picture-to-speech model, each with its floor and its ceiling, on fixed noise and timesteps.

    pictures: (n, C, H, W) uint8 as `pipeline.preprocess` makes them, never seen in training; at most `num` are drawn.
    labels: (n,). real: clips of voices that neither the model nor the judge was trained on. judge_clips: what the mel
    judge is trained on, unless `judge` is given. words: what is said for each class, one phrase or several; its name
    where None. trained_on: features (k, D) and labels (k,) of training pictures, for the probe that tells seeing from
    speaking; None leaves it out.

    Floors: chance is one over the number of classes; shuffled counts a sample as right if it says what another
    picture, drawn at random, shows. Ceiling: at most `num` real clips through the same codec (encoded for the judge;
    encoded, decoded and heard for the listeners).

    Raises:
        InputError: no pictures, a class without a real clip, or clips that the codec does not hold.
    """
    report = progress or (lambda *_: None)
    if not len(pictures):
        raise InputError("no pictures to speak; give a test split with some")
    if real.class_names != judge_clips.class_names:
        raise InputError("the splits 'test' and 'judge' have other classes; build the corpus again")
    codec, class_names = pipeline.codec, real.class_names
    panel, notes = make_panel(codec, real, judge_clips, words, judge, listener, seed, report)
    real = thinned(real, max(num, NUM_REAL, CLIPS_PER_CLASS * len(class_names)), seed)
    chosen = drawn(len(pictures), num, seed, "pictures")
    pictures, labels = pictures[chosen], labels[chosen]
    other = shuffled(len(labels), seed)

    speech = speak(pipeline, pictures, seed=seed, progress=lambda done, all_: report("speaking", done, all_))
    answers = panel.answers(speech, lambda done, all_: report("listening", done, all_))
    kept = drawn(len(real), num, seed, "clips")
    sounds, true = pad(real.waveforms[kept], codec), real.labels[kept]
    rebuilt = through_codec(codec, sounds, seed)
    real_answers = panel.answers(rebuilt, lambda done, all_: report("listening to real clips", done, all_))
    ceilings = {name: accuracy(true, found) for name, found in real_answers.items()}
    metrics = accuracy_metrics(answers, labels, other, ceilings, len(class_names))
    transcripts = None
    if panel.whisper is not None:
        metric, transcripts = whisper_metric(panel, speech, labels, other, rebuilt, true, report)
        metrics.append(metric)
    seen = None
    if trained_on is not None:
        seen = fit_probe(*trained_on, len(class_names), seed).answers(features_of(pipeline, pictures))
        metrics += seeing_metrics(seen, labels, other, answers[X_0], len(class_names), ceilings[X_0])
    metrics += nearest_metrics(codec, speech, labels, other, rebuilt, true, judge_clips)

    # All of them: a few drawn at random may lack a class that the pictures have.
    real_x_0 = encoded(codec, pad(real.waveforms, codec))
    clips = ImageSpeechSamples(real_x_0, real.labels, pictures, labels)
    pairs = clips.batch(torch.arange(len(labels)), seeding.generator(seed, "pairs"))
    loss, mean_clip_error = denoising_metrics(pipeline, pairs, rebuilt.x_0, other, seed, report)
    loss.append(sensitivity_metric(pipeline, pairs, seed))
    pairing = pair(labels, real.labels, real.speakers, seed)
    generation, errors = generation_metrics(codec, speech, real_x_0, other, pairing)
    num_traced = min(NUM_TRACED, len(labels))
    traced = clips.batch(torch.arange(num_traced), seeding.generator(seed, "pairs"))
    trace = {
        name: found.mean(dim=1).tolist()
        for name, found in denoising_errors(pipeline, traced, shuffled(num_traced, seed), TRACED, seed, report).items()
    }
    diversity = measure_diversity(
        pipeline, pictures, labels, [real, judge_clips], seed, lambda done, all_: report("voices", done, all_)
    )
    num_swept = min(NUM_SWEPT, len(labels))
    sweep = guidance_sweep(pipeline, panel, pictures[:num_swept], labels[:num_swept], guidance, speech, seed, report)
    places = first_of_each(labels)[:NUM_RESTORED]
    said = Speech(speech.x_0[places], speech.waveforms[places])
    seconds = seconds_per_sample(pipeline, pictures, speech, seed)
    factor = seconds * codec.spec.sample_rate / speech.waveforms.shape[-1]
    metrics += [*generation, *diversity.metrics(), *loss, *speed_metrics(seconds, factor, len(labels))]
    before, after = (log_mel_of(codec, x_0).squeeze(1) for x_0 in (rebuilt.x_0, encoded(codec, rebuilt.waveforms)))
    return SpeechEvaluation(
        class_names=class_names,
        pictures=pictures,
        labels=labels,
        metrics=metrics,
        speech=speech,
        answers=answers,
        confusions={name: confusion(labels, found, len(class_names)) for name, found in answers.items()},
        ceilings=ceilings,
        per_class={name: per_class(labels, found, len(class_names)) for name, found in answers.items()},
        sweep=sweep,
        num_swept=num_swept,
        trace=trace,
        num_traced=num_traced,
        mean_clip_error=mean_clip_error,
        round_trip={
            "log-mel (nepers)": difference(before, after),
            "log-mel where it can be heard (nepers)": difference(before[before > QUIETEST], after[before > QUIETEST]),
            "mel magnitude": difference(before.exp(), after.exp()),
            "waveform": difference(sounds, rebuilt.waveforms),
        },
        num_real=len(true),
        heard_directly=accuracy(true, panel.grammar_answers(sounds)) if panel.grammar else None,
        example=(before[0], after[0]),
        errors=errors,
        diversity=diversity,
        restored=restorations(pipeline, real_x_0[pairing.paired[places]], pictures[places], said, seed),
        judge=panel.trained,
        seconds_per_sample=seconds,
        real_time_factor=factor,
        seen=seen,
        transcripts=transcripts,
        notes=notes,
    )


def training_features(pipeline: Any, data: ImageSpeechPairs, seed: int, progress: Progress) -> tuple[Tensor, Tensor]:
    """What the probe learns from: features (k, D) and labels (k,) of at most NUM_TRAINING training pictures."""
    pictures, labels = data.pictures("train")
    places = drawn(len(pictures), NUM_TRAINING, seed, "training pictures")
    rows, read = [], []
    for found, raw in fitted(pipeline, pictures, places, lambda *count: progress("seeing", *count)):
        rows.append(features_of(pipeline, raw))
        read += found
    return torch.cat(rows), labels[read]


def accuracy_metrics(
    answers: dict[str, Tensor], labels: Tensor, other: Tensor, ceilings: dict[str, float], num_classes: int
) -> list[Metric]:
    """The share right by each judge, with its floors and its ceiling."""
    metrics = []
    for name, found in answers.items():
        share = accuracy(labels, found)
        spread, wrong = interval(share, len(labels)), accuracy(labels[other], found)
        name_and_n = f"accuracy ({name}, n = {len(labels)})"
        metrics.append(Metric(name_and_n, share, spread, 1 / num_classes, wrong, ceilings[name]))
    return metrics


def judge_fact(evaluation: SpeechEvaluation, num_clips: int, num_voices: int) -> str:
    """How the mel judge came to be, in one line."""
    judge = evaluation.judge
    return (
        f"trained in {judge.seconds:.0f} s on {num_clips} real clips of {num_voices} voices; "
        f"accuracy {judge.accuracy:.3f} on {judge.num_test} real clips of {judge.num_voices} other voices"
    )
