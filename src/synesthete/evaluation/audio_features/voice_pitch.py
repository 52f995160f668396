"""The pitch of a voice, and whether there is one: a blurred spectrogram whispers, however well its words are heard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

LOWEST, HIGHEST = 60.0, 450.0  # Hz, of a speaking voice
LOUD = 12.0  # dB under the loudest frame: vowels
VOICED = 0.5  # periodicity; noise has about 0.3, real vowels 0.9, after a log-mel and Griffin-Lim 0.75
OCTAVE_COST = 0.01  # a period counts for more than two of it
CHUNK = 10


# Not librosa's pyin: it takes a second a clip, and its voicing is a state of a hidden Markov model, not the periodicity
# that tells a whisper from a voice.
def track_pitch(waveforms: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Median pitch and median periodicity (n,) of the loud frames of sounds (n, S).

    Pitch: in semitones over 100 Hz, of the voiced frames; NaN where less than half of the loud ones are voiced.
    Periodicity: height of the normalised autocorrelation at the period, 0 (noise, silence) to 1. By the autocorrelation
    of a window of three of the lowest periods over that of the window itself (Boersma 1993).
    """
    found = [_track(part.float().cpu(), sample_rate) for part in waveforms.split(CHUNK)]
    pitch, periodicity = map(torch.cat, zip(*found, strict=True))
    return pitch, periodicity


def _track(waveforms: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    length = round(3 * sample_rate / LOWEST)
    frames = waveforms.unfold(-1, length, length // 4)  # (n, k, length)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    window = torch.hann_window(length)
    lags = torch.arange(math.ceil(sample_rate / HIGHEST), int(sample_rate / LOWEST) + 1)
    own = _autocorrelation(window)
    correlation = _autocorrelation(frames * window)[..., lags] / (own / own[0])[lags]  # (n, k, lags)
    power = frames.mul(window).square().sum(dim=-1)  # (n, k)
    correlation = correlation / power.clamp(min=1e-12).unsqueeze(-1)
    place = (correlation - OCTAVE_COST * (lags * LOWEST / sample_rate).log2()).argmax(dim=-1, keepdim=True)
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
