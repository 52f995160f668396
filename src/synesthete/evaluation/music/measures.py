"""What is measured on a model of music, piece by piece; `evaluation.music.evaluation` puts it together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.denoising import TRACED
from synesthete.evaluation.denoising_trace import trace_denoising
from synesthete.evaluation.metrics.classification import accuracy, class_metrics, confusion
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.music.memory import WHAT
from synesthete.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.classifiers.sound import SoundClassifier
    from synesthete.evaluation.denoising_trace import DenoisingTrace
    from synesthete.evaluation.music.comparison import Comparison
    from synesthete.evaluation.music.making import Made
    from synesthete.evaluation.music.memory import Memory
    from synesthete.evaluation.music.real_sounds import RealSounds
    from synesthete.evaluation.music.round_trip import RoundTrip
    from synesthete.evaluation.reporting.report import Section
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

JUDGE = "sound judge"
NUM_DENOISED, NUM_TRACED = 32, 16  # held-out pieces: a spectrogram has more cells than a picture
CHUNK = 8


@dataclass(frozen=True)
class Answers:
    """The judge's: of what was made (n,), of the held-out pieces (m,), and of those through the codec (m,)."""

    made: Tensor
    real: Tensor
    coded: Tensor


def measure_classes(
    judge: SoundClassifier, made: Made, real: RealSounds, coded: Tensor, class_names: tuple[str, ...], seed: int
) -> tuple[Answers, list[Metric]]:
    """What the judge takes each sound for, beside real held-out pieces and the same through the codec (m, S)."""
    answers = Answers(*(judge.classify(waveforms) for waveforms in (made.waveforms, real.held_out, coded)))
    num, num_classes = len(answers.coded), len(class_names)
    found = class_metrics((JUDGE, WHAT), answers.made, made.labels, answers.real, real.labels, num_classes, seed)
    share, ceiling = (accuracy(real.labels, own) for own in (answers.coded, answers.real))
    name = f"class accuracy of real pieces through the codec ({JUDGE}, n = {num})"
    return answers, [*found, Metric(name, share, interval(share, num), 1 / num_classes, ceiling=ceiling)]


def measure_denoising(
    pipeline: Pipeline, prepared: Prepared, real: RealSounds, seed: int, report: Progress
) -> DenoisingTrace:
    """What one step of the network makes of noised held-out pieces, told the right condition, another, and none."""
    places, samples = real.places[:NUM_DENOISED], prepared.test.plain()
    found = [x_0_of(pipeline, samples.batch(part, seeding.generator(seed, "pairs"))) for part in places.split(CHUNK)]
    signal, raw, label = (torch.cat([getattr(batch, name) for batch in found]) for name in ("signal", "raw", "label"))
    pairs = Batch(signal, raw, label, encoded=True)
    return trace_denoising(pipeline, pairs, seed, report, WHAT, num_traced=NUM_TRACED)


@torch.no_grad()
def x_0_of(pipeline: Pipeline, batch: Batch) -> Batch:
    """The batch with x_0 (B, C, H, W) on the CPU for its signal."""
    if batch.encoded:
        return batch
    x_0 = pipeline.codec.encode(batch.signal.to(pipeline.device)).float().cpu()
    return Batch(x_0, batch.raw, batch.label, encoded=True)


@dataclass
class MusicEvaluation:
    """What `evaluate_music` found.

    answers: None of a model that is told no class, or without a judge that knows classes. highs: the pages on what an
    upsampler makes of held-out pieces.
    """

    class_names: tuple[str, ...]
    sample_rate: int
    made: Made
    real: RealSounds
    metrics: list[Metric]
    comparison: Comparison
    memory: Memory
    denoising: DenoisingTrace
    round_trip: RoundTrip
    answers: Answers | None = None
    judge: TrainedClassifier[SoundClassifier] | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    highs: list[Section] = field(default_factory=list)

    def metric(self, name: str) -> Metric:
        """The first metric whose name contains `name`."""
        return next(metric for metric in self.metrics if name in metric.title)

    def confusion(self, real: bool = False) -> Tensor:
        """How often each class asked for (or shown by real pieces) was taken for each, (C, C + 1)."""
        assert self.answers is not None
        labels = self.real.labels if real else self.made.labels
        return confusion(labels, self.answers.real if real else self.answers.made, len(self.class_names))

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        found = self.comparison
        values: dict[str, Any] = {
            "seconds_per_sample": self.made.seconds,
            "class_names": list(self.class_names),
            "features": {"name": found.features, "width": found.width},
            "kernel_floor": found.floor,
            "octave_band_floor": found.band_floor,
            "apart": found.apart,
            "round_trip": {"snr_db": self.round_trip.snr_db, "spectral_db": self.round_trip.spectral_db},
            "error_by_timestep": {
                "fraction": list(TRACED),
                **self.denoising.errors,
                "mean piece": self.denoising.mean_error,
            },
            "num_broken": self.made.num_broken,
            "num_clipped": self.made.num_clipped,
            "notes": self.notes,
            "skipped": self.skipped,
            "num_skipped": len(self.skipped),
        }
        if self.answers is not None:
            values["confusion"] = self.confusion().tolist()
            values["confusion_of_real"] = self.confusion(real=True).tolist()
        if self.judge is not None:
            values["judge"] = {key: getattr(self.judge, key) for key in ("accuracy", "num_test", "seconds")}
        return values
