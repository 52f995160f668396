"""Which tones sound, how often and how far apart; and the pitch of a voice, or whether it whispers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from synesthete.evaluation.audio_features.spectra import stft, window_size

LOWEST, HIGHEST = 24, 107  # MIDI numbers: 33 Hz to 3.95 kHz
WINDOW = 0.17  # seconds; the next power of two in samples
FAINT = 10 ** (-40 / 20)  # of the loudest partial of a frame; what is fainter is no tone
SILENT = 10 ** (-60 / 20)  # of the loudest partial of the sound: a frame without tones
LOWEST_VOICE, HIGHEST_VOICE = 60.0, 450.0  # Hz, of a speaking voice
LOUD = 12.0  # dB under the loudest frame: vowels
VOICED = 0.5  # periodicity; noise has about 0.3, real vowels 0.9, after a log-mel and Griffin-Lim 0.75
OCTAVE_COST = 0.01  # a period counts for more than two of it
CHUNK = 10


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


def pitch_classes(pitches: Tensor) -> Tensor:
    """(n, 84) -> (n, 12): C, C sharp, and so on, whatever the octave."""
    return pitches.unflatten(1, (-1, 12)).sum(dim=1)


def intervals(classes: Tensor) -> Tensor:
    """Pitch classes (n, 12) -> how often two tones of a sound are 0 to 6 semitones apart, (n, 7), in any key."""
    apart = [(classes * classes.roll(shift, dims=1)).sum(dim=1) for shift in range(7)]
    # Each distance but 0 and 6 is met both ways round.
    found = torch.stack(apart, dim=1) * torch.tensor([1, 2, 2, 2, 2, 2, 1])
    return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)


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
