"""What a set of sounds is like on the whole, bands, rhythm and pitch of each, and how far two sets are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.evaluation.audio_features.pitch import intervals, pitch_classes, pitch_histogram
from synesthete.evaluation.audio_features.spectra import FLOOR_DB, band_error, frame_sizes, log_mel, parts, third_power

if TYPE_CHECKING:
    from synesthete.evaluation.audio_features.spectra import Sounds

__all__ = ["AudioDescriptors", "apart", "describe_sounds"]

SHORTEST, LONGEST = 0.2, 2.0  # seconds between beats: 300 to 30 a minute
AUDIBLE = 20.0  # dB above the floor: the flicker of what is nearly silent begins nothing
NEAR = 0.05  # seconds around an onset without another
AROUND = 0.2  # seconds around, whose mean an onset exceeds
RISE = 1.5  # dB, mean over the bands, that it does so by
BANDS = "octave band error (dB)"
TEMPO = "tempogram distance"
ONSETS = "onsets a second, distance"
PITCHES = "pitch histogram distance"
CLASSES = "pitch-class histogram distance"
INTERVALS = "interval histogram distance"
NAMES = (BANDS, TEMPO, ONSETS, PITCHES, CLASSES, INTERVALS)
QUANTILES = 101


def onset_rate(strength: Tensor, frame_rate: float) -> Tensor:
    """Onsets a second (B,): peaks of the strength (B, T), `frame_rate` frames a second, well above the mean around."""
    near, around = (2 * max(1, round(seconds * frame_rate)) + 1 for seconds in (NEAR, AROUND))
    x = strength.unsqueeze(1)
    highest = F.max_pool1d(x, near, 1, near // 2)
    mean = F.avg_pool1d(x, around, 1, around // 2, count_include_pad=False)
    peaks = (x == highest) & (x > mean + RISE)
    return peaks.sum(dim=(1, 2)) * frame_rate / max(strength.shape[-1], 1)


# Not librosa's tempogram: it is of a few seconds around each frame, every frame at the same height, so that it cannot
# say how surely onsets come again.
def tempogram(strength: Tensor, frame_rate: float) -> Tensor:
    """How surely onsets come again after each time from SHORTEST to LONGEST or half the sound, (B, L), 0 to about 1.

    The positive part of the autocorrelation of the strength (B, T) around its mean (Grosche et al. 2010), over that at
    lag 0. A sound without any onset has 0; one shorter than two beats has no lags.
    """
    num = strength.shape[-1]
    first, last = round(SHORTEST * frame_rate), min(round(LONGEST * frame_rate), num // 2)
    lags = torch.arange(first, max(first, last + 1))
    x = strength.double() - strength.double().mean(dim=-1, keepdim=True)
    correlation = torch.fft.irfft(torch.fft.rfft(x, 2 * num).abs().square())[..., lags]  # (B, L)
    # Fewer pairs of frames are further apart: each lag's mean, not its sum.
    power = x.square().mean(dim=-1, keepdim=True)
    return (correlation / (num - lags)).clamp(min=0) / power.clamp(min=1e-9)


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


def describe_sounds(waveforms: Sounds, sample_rate: int) -> AudioDescriptors:
    """The descriptors of sounds (n, S), int16 or float in [-1, 1]."""
    frame_rate = sample_rate / frame_sizes(sample_rate)[1]
    found: list[tuple[Tensor, ...]] = []
    for part in parts(waveforms):
        # Spectral flux: the mean over bands of the rises (Bello et al. 2005, section III). librosa's onset strength is
        # this line, behind seconds of compilation by numba.
        audible = log_mel(part, sample_rate).clamp(min=FLOOR_DB + AUDIBLE)  # (B, F, T) in dB
        strength = audible.diff(dim=-1).clamp(min=0).mean(dim=1)  # (B, T - 1)
        rhythm = tempogram(strength, frame_rate), onset_rate(strength, frame_rate)
        found.append((third_power(part, sample_rate), *rhythm, pitch_histogram(part, sample_rate)))
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
