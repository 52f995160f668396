"""Many voices, or one averaged voice: how far apart a model's sounds of the same picture are, against real voices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.audio_features.pitch import track_pitch
from synesthete.evaluation.classifiers.speech import QUIETEST, log_mel_of
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.reporting.figures import DECIBELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.data.speech.corpus import Clips
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.samples import Generated

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
        voiced=(_share_known(found[0][0]), _share_known(found[1][0])),
        periodicity=(periodicity[0], periodicity[1]),
        by_class=by_class,
        num_pictures=len(classes),
        num_seeds=NUM_SEEDS,
    )


def _share_known(values: Tensor) -> float:
    return values.isfinite().double().mean().item()
