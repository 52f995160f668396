"""What sounds are like, by bands, rhythm and tones; how far two sets are apart; and the pitch of a voice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.evaluation.audio_features.spectra import (
    FLOOR_DB,
    band_error,
    frame_sizes,
    log_mel,
    parts,
    stft,
    third_power,
    window_size,
)

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
LOWEST, HIGHEST = 24, 107  # MIDI numbers: 33 Hz to 3.95 kHz
WINDOW = 0.17  # seconds; the next power of two in samples
FAINT = 10 ** (-40 / 20)  # of the loudest partial of a frame; what is fainter is no tone
SILENT = 10 ** (-60 / 20)  # of the loudest partial of the sound: a frame without tones
LOWEST_VOICE, HIGHEST_VOICE = 60.0, 450.0  # Hz, of a speaking voice
LOUD = 12.0  # dB under the loudest frame: vowels
VOICED = 0.5  # periodicity; noise has about 0.3, real vowels 0.9, after a log-mel and Griffin-Lim 0.75
OCTAVE_COST = 0.01  # a period counts for more than two of it
CHUNK = 10


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
    correlation = _autocorrelation(x)[..., lags]  # (B, L)
    # Fewer pairs of frames are further apart: each lag's mean, not its sum.
    power = x.square().mean(dim=-1, keepdim=True)
    return (correlation / (num - lags)).clamp(min=0) / power.clamp(min=1e-9)


# Not librosa's piptrack: its parabola is through magnitudes, not their logarithms, a bias of up to a tenth of a bin.
def pitch_histogram(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Sounds (B, S) float -> share of each semitone from LOWEST to HIGHEST among the partials, (B, 84); 0 of silence.

    Partials are the peaks of a spectrum, refined by a parabola through the logarithms of three bins (Smith & Serra
    1987), weighted by magnitude. Overtones count as the tones they are.
    """
    n_fft = window_size(sample_rate, WINDOW)
    level = stft(waveforms, n_fft, n_fft // 2).abs()  # (B, bins, T)
    loudest = level.amax(dim=1, keepdim=True)
    low, middle, high = level[:, :-2], level[:, 1:-1], level[:, 2:]
    peak = (middle > low) & (middle >= high) & (middle > FAINT * loudest)
    peak &= middle > SILENT * loudest.amax(dim=2, keepdim=True) + 1e-9
    a, b, c = ((x + 1e-12).log() for x in (low, middle, high))
    place = torch.arange(1, level.shape[1] - 1)[:, None] + 0.5 * (a - c) / (a - 2 * b + c).clamp(max=-1e-9)
    semitone = (69 + 12 * (place.clamp(min=0.5) * sample_rate / n_fft / 440).log2()).round().long()
    peak &= (semitone >= LOWEST) & (semitone <= HIGHEST)
    weight, column = (middle * peak).flatten(1), (semitone - LOWEST).clamp(0, HIGHEST - LOWEST).flatten(1)
    found = torch.zeros(len(waveforms), HIGHEST - LOWEST + 1).scatter_add_(1, column, weight).double()
    return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)


@dataclass(frozen=True)
class AudioDescriptors:
    """Of n sounds: power in thirds of an octave (n, k), tempogram (n, L), onsets a second (n,), pitches (n, 84)."""

    thirds: Tensor
    tempogram: Tensor
    onsets: Tensor
    pitches: Tensor

    @property
    def pitch_classes(self) -> Tensor:
        """C, C sharp, and so on, whatever the octave, (n, 12)."""
        return self.pitches.unflatten(1, (-1, 12)).sum(dim=1)

    @property
    def intervals(self) -> Tensor:
        """How often two tones of a sound are 0 to 6 semitones apart, (n, 7), in any key."""
        classes = self.pitch_classes
        apart = [(classes * classes.roll(shift, dims=1)).sum(dim=1) for shift in range(7)]
        # Each distance but 0 and 6 is met both ways round.
        found = torch.stack(apart, dim=1) * torch.tensor([1, 2, 2, 2, 2, 2, 1])
        return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)


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
    to 1; with k the mean difference. Unbiased half of the energy distance (Székely & Rizzo 2013), so that of two sets
    alike it may be below 0. Means of histograms would not do: those of music in many keys are as flat as noise's.
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


# Not librosa's pyin: it takes a second a clip, and its voicing is a state of a hidden Markov model, not the periodicity
# that tells a whisper from a voice.
def track_pitch(waveforms: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Median pitch and median periodicity (n,) of the loud frames of sounds (n, S).

    Pitch: in semitones over 100 Hz, of the voiced frames; NaN where less than half of the loud ones are voiced.
    Periodicity: height of the normalised autocorrelation at the period (Boersma 1993), 0 (noise, silence) to 1.
    """
    found = [_track(part.float().cpu(), sample_rate) for part in waveforms.split(CHUNK)]
    pitch, periodicity = map(torch.cat, zip(*found, strict=True))
    return pitch, periodicity


def _track(waveforms: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    length = round(3 * sample_rate / LOWEST_VOICE)
    frames = waveforms.unfold(-1, length, length // 4)  # (n, k, length)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    window = torch.hann_window(length)
    lags = torch.arange(math.ceil(sample_rate / HIGHEST_VOICE), int(sample_rate / LOWEST_VOICE) + 1)
    own = _autocorrelation(window)
    correlation = _autocorrelation(frames * window)[..., lags] / (own / own[0])[lags]  # (n, k, lags)
    power = frames.mul(window).square().sum(dim=-1)  # (n, k)
    correlation = correlation / power.clamp(min=1e-12).unsqueeze(-1)
    place = (correlation - OCTAVE_COST * (lags * LOWEST_VOICE / sample_rate).log2()).argmax(dim=-1, keepdim=True)
    height = correlation.gather(-1, place).squeeze(-1)
    semitones = 12 * (sample_rate / lags[place.squeeze(-1)] / 100).log2()
    loud = (power > 0) & (power >= power.amax(dim=-1, keepdim=True) * 10 ** (-LOUD / 10))
    periodicity = height.where(loud, torch.nan).nanmedian(dim=-1).values.nan_to_num(0.0).clamp(0, 1)
    pitch = semitones.where(loud & (height >= VOICED), torch.nan).nanmedian(dim=-1).values
    return pitch.where(periodicity >= VOICED, torch.nan), periodicity


def _autocorrelation(x: Tensor) -> Tensor:
    """Of every row (..., L), at lags 0 to L - 1, without wrapping round."""
    length = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x, 2 * length).abs().square())[..., :length]
