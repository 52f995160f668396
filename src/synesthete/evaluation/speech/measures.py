"""What is measured on a picture-to-speech model, piece by piece; `evaluation.speech` puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.denoising import TRACED
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.speech.speaking import Speech, speak
from synesthete.evaluation.subsampling import first_of_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.speech.clips import Clips
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.metrics.round_trip import Difference
    from synesthete.evaluation.recognizers.panel import RecognizerPanel, Transcripts
    from synesthete.evaluation.speech.diversity import Diversity

    Progress = Callable[[str, int, int], None]


@dataclass
class SpeechEvaluation:
    """What `evaluate_speech` found. Answers are places in class_names, -1 where nothing was heard.

    pictures: (n, C, H, W), as the model was shown them. labels: (n,). answers: by judge, (n,). confusions: by
    judge, (C, C + 1). sweep: by guidance scale and judge, (share right, low, high). trace: mean x_0 error at the
    TRACED fractions, by condition. round_trip: real clips against themselves through the codec, by what is compared.
    example: log-mels (F, T) of a real clip and of the same through the codec. errors: against a paired real clip, as
    i2m computed it and rightly scaled, by what is compared. restored: of the first pictures, by what was done.
    seen: what a probe reads from the condition, (n,).
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
    errors: dict[str, tuple[float, float]]
    diversity: Diversity
    restored: dict[str, Speech]
    judge: TrainedClassifier[SpeechClassifier]
    seconds_per_sample: float
    real_time_factor: float
    seen: Tensor | None = None
    transcripts: Transcripts | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def metric(self, name: str) -> Metric:
        """The first metric whose name contains `name`."""
        return next(metric for metric in self.metrics if name in metric.title)

    def first_of_each(self) -> list[int]:
        """The place of the first sample of each class that has one."""
        return first_of_each(self.labels).tolist()

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
            "generation_error": {name: list(values) for name, values in self.errors.items()},
            "voice_spread": {name: list(values) for name, values in self.diversity.spreads.items()},
            "notes": self.notes,
            "skipped": self.skipped,
            "num_skipped": len(self.skipped),
        }


def guidance_sweep(
    pipeline: Any,
    panel: RecognizerPanel,
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
        shares = {name: accuracy(labels, found) for name, found in panel.answers(speech).items()}
        sweep[scale] = {name: (share, *interval(share, len(labels))) for name, share in shares.items()}
    return sweep


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
