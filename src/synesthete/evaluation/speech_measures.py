"""What is measured on a picture-to-speech model, piece by piece; `evaluation.speech` puts it together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.distances import accuracy, interval, interval_of_mean
from synesthete.evaluation.judges import load_or_train_judge, log_mel_of
from synesthete.evaluation.listeners import WordListener
from synesthete.evaluation.report import Metric
from synesthete.objectives import Parts, condition_sensitivity, fixed_error
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.speech.clips import Clips
    from synesthete.evaluation.distances import Difference
    from synesthete.evaluation.judges import JudgeTraining
    from synesthete.types import Batch

    Progress = Callable[[str, int, int], None]

BATCH_SIZE = 50
FRACTIONS = (0.3, 0.5, 0.8)  # of the way to noise: t = 300, 500, 800 of 1000
TRACED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
X_0, DECODED, LISTENER = "mel judge on x_0", "mel judge on the decoded sound", "pocketsphinx on the decoded sound"


@dataclass(frozen=True)
class Speech:
    """Sound as both judges take it. x_0: (n, 1, F, T). waveforms: (n, S). seconds: of each batch, all that made it."""

    x_0: Tensor
    waveforms: Tensor
    seconds: tuple[float, ...] = ()


@dataclass
class SpeechEvaluation:
    """What `evaluate_speech` found. Answers are places in class_names, -1 where nothing was heard.

    pictures: (n, C, H, W), as the model was shown them. labels: (n,). answers: by judge, (n,). confusions: by
    judge, (C, C + 1). sweep: by guidance scale and judge, (share right, low, high). trace: mean x_0 error at the
    TRACED fractions, by condition. round_trip: real clips against themselves through the codec, by what is compared.
    example: log-mels (F, T) of a real clip and of the same through the codec.
    """

    class_names: tuple[str, ...]
    pictures: Tensor
    labels: Tensor
    metrics: list[Metric]
    speech: Speech
    answers: dict[str, Tensor]
    confusions: dict[str, Tensor]
    ceilings: dict[str, float]
    per_class: dict[str, list[float]]
    sweep: dict[float, dict[str, tuple[float, float, float]]]
    num_swept: int
    trace: dict[str, list[float]]
    num_traced: int
    mean_clip_error: float
    round_trip: dict[str, Difference]
    num_real: int
    heard_directly: float | None
    example: tuple[Tensor, Tensor]
    judge: JudgeTraining
    seconds_per_sample: float
    real_time_factor: float
    notes: list[str] = field(default_factory=list)

    def metric(self, name: str) -> Metric:
        """The first metric whose name contains `name`."""
        return next(metric for metric in self.metrics if name in metric.name)

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        return {
            "seconds_per_sample": self.seconds_per_sample,
            "real_time_factor": self.real_time_factor,
            "class_names": list(self.class_names),
            "confusion": {name: table.tolist() for name, table in self.confusions.items()},
            "share_of_ceiling": {
                name: accuracy(self.labels, answers) / self.ceilings[name] if self.ceilings[name] else None
                for name, answers in self.answers.items()
            },
            "error_by_timestep": {"fraction": list(TRACED), **self.trace, "mean clip": self.mean_clip_error},
            "judge": {"accuracy": self.judge.accuracy, "num_test": self.judge.num_test, "seconds": self.judge.seconds},
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Jury:
    """The mel judge and, where there is one, the listener with the word of each class."""

    codec: Any
    training: JudgeTraining
    listener: WordListener | None
    words: tuple[str, ...]

    def answers(self, speech: Speech, progress: Callable[[int, int], None] | None = None) -> dict[str, Tensor]:
        """What each hears in each of n sounds, (n,) by judge: a class, or -1."""
        judge, codec = self.training.judge, self.codec
        again = log_mel_of(codec, encoded(codec, speech.waveforms))
        found = {X_0: judge.judge(log_mel_of(codec, speech.x_0)), DECODED: judge.judge(again)}
        if self.listener is not None:
            found[LISTENER] = self.heard(speech.waveforms, progress)
        return found

    def heard(self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """The listener's answers alone, (n,)."""
        assert self.listener is not None
        heard = self.listener.hear_all(waveforms, self.codec.spec.sample_rate, progress)
        return torch.tensor([self.words.index(word) if word in self.words else -1 for word in heard])


def make_jury(
    codec: Any,
    real: Clips,
    judge_clips: Clips,
    words: Sequence[str] | None,
    judge: JudgeTraining | None,
    seed: int,
    progress: Progress,
) -> tuple[Jury, list[str]]:
    """The judges, and a note where the listener cannot be one of them."""
    said = tuple(word.lower() for word in words or real.class_names)
    notes, listener = [], None
    try:
        listener = WordListener(said)
    except InputError as error:
        notes.append(f"no listener: {error}")
    judge = judge or load_or_train_judge(judge_clips, real, spec=codec.spec, seed=seed, progress=progress)
    return Jury(codec, judge, listener, said), notes


def speak(
    pipeline: Any,
    pictures: Tensor,
    *,
    seed: int = 0,
    guidance_scale: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Speech:
    """What the model says to pictures (n, C, H, W); sample i draws the same noise whatever the guidance."""
    x_0, waveforms, seconds = [], [], []
    settings = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    for first in range(0, len(pictures), BATCH_SIZE):
        part = pictures[first : first + BATCH_SIZE]
        start = time.perf_counter()
        output = pipeline(part, generators=seeding.sample_generators(seed, len(part), first), **settings)
        waveforms.append(output.signal.float().cpu())
        seconds.append(time.perf_counter() - start)
        x_0.append(output.x_0.float().cpu())
        if progress:
            progress(first + len(part), len(pictures))
    return Speech(torch.cat(x_0), torch.cat(waveforms), tuple(seconds))


def encoded(codec: Any, waveforms: Tensor) -> Tensor:
    """x_0 (n, 1, F, T) of waveforms (n, S), a batch at a time, wherever the codec is."""
    return torch.cat([codec.encode(part.to(codec.mean.device)).cpu() for part in waveforms.split(BATCH_SIZE)])


def through_codec(codec: Any, waveforms: Tensor, seed: int) -> Speech:
    """Real waveforms (n, S) float, encoded and decoded."""
    x_0 = encoded(codec, waveforms)
    decoded = [
        codec.decode(part.to(codec.mean.device), seeding.sample_generators(seed, len(part), i * BATCH_SIZE)).cpu()
        for i, part in enumerate(x_0.split(BATCH_SIZE))
    ]
    return Speech(x_0, torch.cat(decoded))


def guidance_sweep(
    pipeline: Any,
    jury: Jury,
    pictures: Tensor,
    labels: Tensor,
    guidance: Sequence[float],
    at_default: Speech,
    seed: int,
    progress: Progress,
) -> dict[float, dict[str, tuple[float, float, float]]]:
    """(share right, low, high) by guidance scale and judge, on the same pictures and noise; what was said is reused."""
    sweep = {}
    default = pipeline.sampling_settings()["guidance_scale"]
    for scale in sorted({*guidance, default}):
        if scale == default:
            speech = Speech(at_default.x_0[: len(labels)], at_default.waveforms[: len(labels)])
        else:
            speech = speak(
                pipeline,
                pictures,
                seed=seed,
                guidance_scale=scale,
                progress=lambda done, total, scale=scale: progress(f"guidance {scale:g}", done, total),  # type: ignore[misc]
            )
        shares = {name: accuracy(labels, found) for name, found in jury.answers(speech).items()}
        sweep[scale] = {name: (share, *interval(share, len(labels))) for name, share in shares.items()}
    return sweep


def denoising_errors(
    pipeline: Any, pairs: Batch, other: Tensor, fractions: Sequence[float], seed: int, progress: Progress
) -> dict[str, Tensor]:
    """x_0 errors (fractions, n) told the right conditions, those of `other` samples (n,), and none, on one noise."""
    parts = Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process)
    errors: dict[str, list[Tensor]] = {"right condition": [], "shuffled condition": [], "no condition": []}
    num, device = len(pairs.label), pipeline.device
    for first in range(0, num, BATCH_SIZE):
        here = slice(first, min(first + BATCH_SIZE, num))
        x_0 = pairs.signal[here].to(device)
        with torch.no_grad():
            conditions = (
                parts.conditioner.encode(pairs.raw[here].to(device)),
                parts.conditioner.encode(pairs.raw[other[here]].to(device)),
                parts.conditioner.null(len(x_0)),
            )
        for found, condition in zip(errors.values(), conditions, strict=True):
            draw = seeding.derive(seed, "errors", first)
            found.append(fixed_error(parts, x_0, condition, tuple(fractions), draw).cpu())
        progress("denoising", here.stop, num)
    return {name: torch.cat(found, dim=1) for name, found in errors.items()}


def denoising_metrics(
    pipeline: Any, pairs: Batch, real_x_0: Tensor, other: Tensor, seed: int, progress: Progress
) -> tuple[list[Metric], float]:
    """The denoising errors at FRACTIONS, the sensitivity to the condition, and the error of the mean clip."""
    errors = denoising_errors(pipeline, pairs, other, FRACTIONS, seed, progress)
    mean_clip_error = (pairs.signal - real_x_0.mean(dim=0)).square().mean().item()
    num = len(pairs.label)
    metrics = [
        Metric(
            f"MSE of x_0 at t = {fraction * 1000:.0f} (real clips, n = {num})",
            right.mean().item(),
            interval_of_mean(right),
            mean_clip_error,
            wrong.mean().item(),
        )
        for fraction, right, wrong in zip(FRACTIONS, *list(errors.values())[:2], strict=True)
    ]
    parts = Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process)
    sensitivity = condition_sensitivity(parts, pairs.to(pipeline.device), seed=seed)["sensitivity"]
    name = f"condition sensitivity (MSE of x_0, another class minus the right one, t = 500 to 970, n = {num})"
    return [*metrics, Metric(name, sensitivity, chance=0.0)], mean_clip_error


def seconds_per_sample(pipeline: Any, pictures: Tensor, speech: Speech, seed: int) -> float:
    """Median over whole batches after the first, sampling and decoding; one more batch where there was only one."""
    size = min(BATCH_SIZE, len(pictures))
    whole = speech.seconds[1 : len(pictures) // BATCH_SIZE]
    times = whole or speak(pipeline, pictures[:size], seed=seed).seconds
    return torch.tensor(times).median().item() / size


def speed_metrics(seconds: float, factor: float, num: int) -> list[Metric]:
    """Seconds a sample and the real-time factor, as metrics; num: samples that there were."""
    name = f"batch of {min(BATCH_SIZE, num)}, sampling and decoding"
    return [
        Metric(f"seconds a sample ({name})", seconds),
        Metric(f"real-time factor (seconds of work a second of sound, {name})", factor),
    ]


def per_class(labels: Tensor, answers: Tensor, num_classes: int) -> list[float]:
    """Share right of each class; NaN where it has no sample."""
    return [accuracy(labels[labels == i], answers[labels == i]) for i in range(num_classes)]


def pad(waveforms: Tensor, codec: Any) -> Tensor:
    """int16 clips (n, S) as float in [-1, 1], as long as the codec's."""
    return F.pad(waveforms.float() / 32768, (0, max(0, codec.config.num_samples - waveforms.shape[-1])))


def drawn(num_there: int, num: int, seed: int, what: str) -> Tensor:
    """At most `num` of `num_there` places, in an order drawn once and for all."""
    return torch.randperm(num_there, generator=seeding.generator(seed, what))[:num]


def shuffled(num: int, seed: int) -> Tensor:
    """For each of `num` samples another one: a random permutation that leaves none in its place."""
    order = torch.randperm(num, generator=seeding.generator(seed, "shuffled"))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other
