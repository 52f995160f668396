"""What a set of sounds is like on the whole: bands, rhythm and pitch of each, and how far two sets are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.audio_features.bands import band_error, third_power
from synesthete.evaluation.audio_features.pitch import intervals, pitch_classes, pitch_histogram
from synesthete.evaluation.audio_features.rhythm import onset_rate, onset_strength, tempogram
from synesthete.evaluation.audio_features.spectra import frame_sizes, log_mel, parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds

BANDS = "octave band error (dB)"
TEMPO = "tempogram distance"
ONSETS = "onsets a second, distance"
PITCHES = "pitch histogram distance"
CLASSES = "pitch-class histogram distance"
INTERVALS = "interval histogram distance"
NAMES = (BANDS, TEMPO, ONSETS, PITCHES, CLASSES, INTERVALS)
QUANTILES = 101


@dataclass(frozen=True)
class AudioDescriptors:
    """Of n sounds: power in thirds of an octave (n, k), tempogram (n, L), onsets a second (n,), pitches (n, 84)."""

    thirds: Tensor
    tempogram: Tensor
    onsets: Tensor
    pitches: Tensor

    @property
    def pitch_classes(self) -> Tensor:
        """(n, 12)."""
        return pitch_classes(self.pitches)

    @property
    def intervals(self) -> Tensor:
        """(n, 7)."""
        return intervals(self.pitch_classes)


def describe(
    waveforms: Sounds, sample_rate: int, progress: Callable[[int, int], None] | None = None
) -> AudioDescriptors:
    """The descriptors of sounds (n, S), int16 or float in [-1, 1]."""
    _n_fft, hop_length = frame_sizes(sample_rate)
    frame_rate = sample_rate / hop_length
    found: list[tuple[Tensor, ...]] = []
    done = 0
    for part in parts(waveforms):
        strength = onset_strength(log_mel(part, sample_rate))
        found.append(
            (
                third_power(part, sample_rate),
                tempogram(strength, frame_rate),
                onset_rate(strength, frame_rate),
                pitch_histogram(part, sample_rate),
            )
        )
        done += len(part)
        if progress:
            progress(done, len(waveforms))
    return AudioDescriptors(*map(torch.cat, zip(*found, strict=True)))


def apart(made: AudioDescriptors, real: AudioDescriptors) -> dict[str, float]:
    """How far two sets are apart, by NAMES: decibels, shares from 0 to 1, and onsets a second.

    Tempograms and histograms by `energy_distance`; NaN where sounds are too short for them.
    """
    return {
        BANDS: band_error(made.thirds, real.thirds),
        TEMPO: energy_distance(made.tempogram, real.tempogram, unit=max(1, made.tempogram.shape[1])),
        ONSETS: earth_mover(made.onsets, real.onsets),
        PITCHES: energy_distance(made.pitches, real.pitches),
        CLASSES: energy_distance(made.pitch_classes, real.pitch_classes),
        INTERVALS: energy_distance(made.intervals, real.intervals),
    }


def energy_distance(one: Tensor, other: Tensor, unit: float = 2.0) -> float:
    """How much further two sounds of different sets are apart than two of one set; rows (n, k) and (m, k).

    Two sounds are apart by the sum of the absolute differences over `unit`: with 2 the total variation of histograms, 0
    where they are equal and 1 where they share nothing; with k the mean difference. Unbiased half of the energy
    distance (Székely & Rizzo 2013), so that of two sets alike it may be below 0. Means of a set's histograms would not
    do: those of music in many keys and tempi are as flat as noise's. NaN of empty rows, or of fewer than two sounds.
    """
    if not one.shape[1] or min(len(one), len(other)) < 2:
        return math.nan
    across = torch.cdist(one, other, p=1).mean()
    within = [torch.pdist(rows, p=1).mean() for rows in (one, other)]
    return ((across - sum(within) / 2) / unit).item()


def mean_histogram(rows: Tensor) -> Tensor:
    """The mean (k,) of histograms (n, k), without those of silence."""
    kept = rows[rows.sum(dim=1) > 0]
    return kept.mean(dim=0) if len(kept) else rows.new_zeros(rows.shape[1])


def earth_mover(one: Tensor, other: Tensor) -> float:
    """How far the values (n,) have to be moved to be distributed as the others (m,), on average, in their own unit."""
    shares = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    first, second = (x.double().quantile(shares) for x in (one, other))
    return (first - second).abs().mean().item()
