"""Many voices, or one averaged voice: how far apart a model's sounds of the same picture are, against real voices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.audio_features.voice_pitch import track_pitch
from synesthete.evaluation.classifiers.speech import QUIETEST, log_mel_of
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.reporting.figures import DECIBELS
from synesthete.evaluation.speech.speaking import pad, speak, through_codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.data.speech.clips import Clips

NUM_PICTURES, NUM_SEEDS = 10, 10
AUDIBLE = 4.0  # nepers (35 dB) under the loudest frame
PITCH, TIMBRE = "pitch (semitones)", "timbre (dB)"


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
        counted = f"{self.num_pictures} pictures, {self.num_seeds} seeds each"
        num = len(self.pitches[0])
        voiced = Metric(
            f"voiced: share of sounds with a clear pitch ({counted})",
            self.voiced[0],
            interval(self.voiced[0], num),
            chance=0.0,
            ceiling=self.voiced[1],
        )
        return [voiced] + [
            Metric(
                f"voice diversity, {name.partition(' ')[0]} (spread over that of real voices, {counted})",
                _ratio(generated, real),
                chance=0.0,
                ceiling=_ratio(again, real),
            )
            for name, (generated, real, again) in self.spreads.items()
        ]


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit else float("nan")


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


def draw_real(clips: list[Clips], classes: Tensor, num: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two sets of real clips without a clip in common, `num` of each class in `classes`, from all voices there are.

    Returns waveforms (k, S) int16 and labels (k,) of both; fewer than `num` where a class has less than twice as many.
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
    first, second = map(torch.cat, halves)
    return waveforms[first], labels[first], waveforms[second], labels[second]


def measure_diversity(
    pipeline: Any,
    pictures: Tensor,
    labels: Tensor,
    clips: list[Clips],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Diversity:
    """Let one picture of each of the first NUM_PICTURES classes speak NUM_SEEDS times, and compare with real voices.

    pictures: (n, C, H, W). labels: (n,). clips: real ones, of any voices; they go through the codec as well.
    """
    classes = labels.unique()[:NUM_PICTURES]
    shown = torch.stack([(labels == label).nonzero().flatten()[0] for label in classes])
    repeated = shown.repeat_interleave(NUM_SEEDS)
    codec, class_names = pipeline.codec, clips[0].class_names
    generated = speak(pipeline, pictures[repeated], seed=seeding.derive(seed, "voices"), progress=progress)
    first, first_labels, second, second_labels = draw_real(clips, classes, NUM_SEEDS, seed)
    sounds = [(generated, labels[repeated])]
    for waveforms, own in ((first, first_labels), (second, second_labels)):
        sounds.append((through_codec(codec, pad(waveforms, codec), seed), own))
    found, periodicity = [], []
    for sound, own in sounds:
        pitch, clear = track_pitch(sound.waveforms, codec.spec.sample_rate)
        found.append((pitch, timbres(log_mel_of(codec, sound.x_0)), own))
        periodicity.append(clear.mean().item())
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
        voiced=(_share_known(found[0][0]), _share_known(found[1][0])),
        periodicity=(periodicity[0], periodicity[1]),
        by_class=by_class,
        num_pictures=len(classes),
        num_seeds=NUM_SEEDS,
    )


def _share_known(values: Tensor) -> float:
    return values.isfinite().double().mean().item()
