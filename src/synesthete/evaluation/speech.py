"""Does it speak? What a picture-to-speech model is worth, by a judge, a listener and its own loss."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.spoken import PairedSamples
from synesthete.evaluation.distances import accuracy, confusion, difference, interval
from synesthete.evaluation.figures import QUIETEST
from synesthete.evaluation.judges import log_mel_of
from synesthete.evaluation.report import Metric, write_report
from synesthete.evaluation.speech_measures import (
    TRACED,
    SpeechEvaluation,
    denoising_errors,
    denoising_metrics,
    drawn,
    encoded,
    guidance_sweep,
    make_jury,
    pad,
    per_class,
    seconds_per_sample,
    shuffled,
    speak,
    speed_metrics,
    through_codec,
)
from synesthete.evaluation.speech_report import speech_report
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.speech.clips import Clips
    from synesthete.data.spoken import SpokenPictures
    from synesthete.evaluation.judges import JudgeTraining

    Progress = Callable[[str, int, int], None]

GUIDANCE = (1.0, 1.5, 3.0, 5.0)
NUM_SWEPT = 200  # samples at each guidance scale
NUM_TRACED = 100  # samples for the loss by timestep


def evaluate(
    pipeline: Any,
    data: SpokenPictures,
    corpus_folder: Path,
    out: Path,
    *,
    model: str = "",
    num: int = 500,
    guidance: Sequence[float] = GUIDANCE,
    seed: int = 0,
    command: str | None = None,
    judge: JudgeTraining | None = None,
    progress: Progress | None = None,
) -> SpeechEvaluation:
    """Evaluate a model on its data's test pictures and write the report into the folder `out`.

    corpus_folder: where `data.build` spoke the corpus. model, command: how the report calls them; the command line of
    this process where None. progress(what, done, total).

    Raises:
        InputError: as `evaluate_speech` and `write_report`, or a model of other classes than the data's.
    """
    if pipeline.class_names and tuple(pipeline.class_names) != tuple(data.class_names):
        raise InputError(
            f"the model names {', '.join(pipeline.class_names)}, the data {', '.join(data.class_names)}; "
            "evaluate it on the data of its own recipe"
        )
    start = datetime.now(UTC)
    pictures, labels = data.pictures("test")
    chosen = drawn(len(pictures), num, seed, "test pictures")
    raw, labels = pipeline.preprocess([pictures.images[i] for i in chosen.tolist()]), labels[chosen]
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
        judge=judge,
        progress=progress,
    )
    evaluation.notes += [f"skipped {name}" for name in (*pictures.skipped, *real.skipped)]
    settings = pipeline.sampling_settings()
    facts = {
        "model": model or pipeline.config.card.get("recipe", ""),
        "recipe": pipeline.config.card.get("recipe", ""),
        "made on": start.strftime("%Y-%m-%d %H:%M UTC"),
        "took": f"{(datetime.now(UTC) - start).total_seconds():.0f} s",
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "device": device_name(pipeline.device),
        "software": f"torch {torch.__version__}, Python {platform.python_version()}",
        "pictures": f"{len(raw)} of {len(pictures)} of the test split, seed {seed}",
        "sampling": ", ".join(f"{key} {value}" for key, value in settings.items()),
        "process": ", ".join(f"{key} {value}" for key, value in pipeline.process.settings().items()),
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
    words: Sequence[str] | None = None,
    num: int = 500,
    guidance: Sequence[float] = GUIDANCE,
    seed: int = 0,
    judge: JudgeTraining | None = None,
    progress: Progress | None = None,
) -> SpeechEvaluation:
    """Every figure of a picture-to-speech model, each with its floor and its ceiling, on fixed noise and timesteps.

    pictures: (n, C, H, W) uint8 as `pipeline.preprocess` makes them, never seen in training; at most `num` are drawn.
    labels: (n,). real: clips of voices that neither the model nor the judge was trained on. judge_clips: what the mel
    judge is trained on, unless `judge` is given. words: what is said for each class, its name where None.

    Floors: chance is one over the number of classes; shuffled counts a sample as right if it says what another
    picture, drawn at random, shows. Ceiling: at most `num` real clips through the same codec (encoded for the judge;
    encoded, decoded and heard for the listener).

    Raises:
        InputError: no pictures, a class without a real clip, or clips that the codec does not hold.
    """
    report = progress or (lambda *_: None)
    if not len(pictures):
        raise InputError("no pictures to speak; give a test split with some")
    if real.class_names != judge_clips.class_names:
        raise InputError("the splits 'test' and 'judge' have other classes; build the corpus again")
    jury, notes = make_jury(pipeline.codec, real, judge_clips, words, judge, seed, report)
    class_names = real.class_names
    chosen = drawn(len(pictures), num, seed, "pictures")
    pictures, labels = pictures[chosen], labels[chosen]
    other = shuffled(len(labels), seed)

    speech = speak(pipeline, pictures, seed=seed, progress=lambda done, all_: report("speaking", done, all_))
    answers = jury.answers(speech, lambda done, all_: report("listening", done, all_))
    kept = drawn(len(real), num, seed, "clips")
    sounds, true = pad(real.waveforms[kept], pipeline.codec), real.labels[kept]
    rebuilt = through_codec(pipeline.codec, sounds, seed)
    real_answers = jury.answers(rebuilt, lambda done, all_: report("listening to real clips", done, all_))
    ceilings = {name: accuracy(true, found) for name, found in real_answers.items()}
    chance = 1 / len(class_names)
    metrics = []
    for name, found in answers.items():
        share = accuracy(labels, found)
        spread, wrong = interval(share, len(labels)), accuracy(labels[other], found)
        metrics.append(Metric(f"accuracy ({name}, n = {len(labels)})", share, spread, chance, wrong, ceilings[name]))

    # All of them: a few drawn at random may lack a class that the pictures have.
    clips = PairedSamples(encoded(pipeline.codec, pad(real.waveforms, pipeline.codec)), real.labels, pictures, labels)
    pairs = clips.batch(torch.arange(len(labels)), seeding.generator(seed, "pairs"))
    loss, mean_clip_error = denoising_metrics(pipeline, pairs, rebuilt.x_0, other, seed, report)
    num_traced = min(NUM_TRACED, len(labels))
    traced = clips.batch(torch.arange(num_traced), seeding.generator(seed, "pairs"))
    trace = {
        name: errors.mean(dim=1).tolist()
        for name, errors in denoising_errors(pipeline, traced, shuffled(num_traced, seed), TRACED, seed, report).items()
    }
    num_swept = min(NUM_SWEPT, len(labels))
    sweep = guidance_sweep(pipeline, jury, pictures[:num_swept], labels[:num_swept], guidance, speech, seed, report)
    seconds = seconds_per_sample(pipeline, pictures, speech, seed)
    factor = seconds * pipeline.codec.spec.sample_rate / speech.waveforms.shape[-1]
    metrics += [*loss, *speed_metrics(seconds, factor, len(labels))]
    codec = pipeline.codec
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
        heard_directly=accuracy(true, jury.heard(sounds)) if jury.listener else None,
        example=(before[0], after[0]),
        judge=jury.training,
        seconds_per_sample=seconds,
        real_time_factor=factor,
        notes=notes,
    )


def judge_fact(evaluation: SpeechEvaluation, num_clips: int, num_voices: int) -> str:
    """How the mel judge came to be, in one line."""
    judge = evaluation.judge
    return (
        f"trained in {judge.seconds:.0f} s on {num_clips} real clips of {num_voices} voices; "
        f"accuracy {judge.accuracy:.3f} on {judge.num_test} real clips of {judge.num_voices} other voices"
    )


def device_name(device: torch.device) -> str:
    """The processor as a reader would call it, and how many threads it is used with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"
