"""Made, or copied? The training pieces nearest to what a model plays, in spectrograms and in a judge's features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import adaptive_avg_pool2d

from synesthete.evaluation.audio_features.spectra import band_statistics, log_mel, parts
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.metrics.memorization import nearest_training_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.evaluation.classifiers.sound import SoundClassifier
    from synesthete.evaluation.metrics.memorization import NearestTrainingDistance
    from synesthete.evaluation.music.real_sounds import RealSounds
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

WHAT = "pieces"
SPECTROGRAM, STATISTICS = "spectrogram", "band statistics"
NUM_SUSPECTS = 4
THUMBNAIL = 16  # frames of a spectrogram that is compared with others, 4 a second of the usual 4


@dataclass(frozen=True)
class Memory:
    """How near to training pieces a model plays: in spectrograms, in statistics of bands, then in a judge's features.

    suspects, real_suspects: places of the made and of the held-out pieces that are nearest, in spectrograms. copies,
    real_copies: the training pieces they are nearest to, int16 (k, S).
    """

    closeness: list[NearestTrainingDistance]
    suspects: Tensor
    copies: Tensor
    real_suspects: Tensor
    real_copies: Tensor


def measure_memory(
    prepared: Prepared,
    judge: SoundClassifier | None,
    made: Tensor,
    real: RealSounds,
    sample_rate: int,
    report: Progress,
) -> Memory:
    """Nearest training pieces, as they are before augmentation, of what was made and of what was held out."""
    training = prepared.train.waveforms
    sets = [outlines(sounds, sample_rate) for sounds in (made, real.held_out)]
    sets.append(outlines(training, sample_rate, lambda *count: report("training pieces", *count)))
    thumbnails, statistics = zip(*sets, strict=True)
    unit = math.sqrt(thumbnails[0].shape[1])
    spectra = nearest_training_distance(SPECTROGRAM, *thumbnails, unit=unit, what=WHAT)
    closeness = [
        spectra,
        nearest_training_distance(STATISTICS, *statistics, unit=math.sqrt(statistics[0].shape[1]), what=WHAT),
    ]
    if judge is not None:
        features = ClassifierFeatures(judge)
        described = [features(sounds) for sounds in (made, real.held_out, training)]
        closeness.append(nearest_training_distance(features.name, *described, what=WHAT))
    suspects = spectra.suspects(NUM_SUSPECTS)
    real_suspects = spectra.held_out.argsort(stable=True)[:NUM_SUSPECTS]
    return Memory(
        closeness,
        suspects,
        training[spectra.places[suspects]],
        real_suspects,
        training[spectra.held_out_places[real_suspects]],
    )


def outlines(
    waveforms: Sounds, sample_rate: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Of log-mels of sounds (n, S) in dB, the means of THUMBNAIL stretches (n, N_MELS * THUMBNAIL), and statistics.

    The second, `band_statistics` (n, 2 * N_MELS), know nothing of when something sounds.
    """
    thumbnails, statistics, done = [], [], 0
    for part in parts(waveforms):
        levels = log_mel(part, sample_rate)
        thumbnails.append(adaptive_avg_pool2d(levels, (levels.shape[1], THUMBNAIL)).flatten(1))
        statistics.append(band_statistics(levels))
        done += len(part)
        if progress:
            progress(done, len(waveforms))
    return torch.cat(thumbnails), torch.cat(statistics)
