"""Which tones sound: how often each semitone, each pitch class, and each interval between two of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

LOWEST, HIGHEST = 24, 107  # MIDI numbers: 33 Hz to 3.95 kHz
WINDOW = 0.17  # seconds; the next power of two in samples
FAINT = 10 ** (-40 / 20)  # of the loudest partial of a frame; what is fainter is no tone
SILENT = 10 ** (-60 / 20)  # of the loudest partial of the sound: a frame without tones


# Not librosa's piptrack: its parabola is through magnitudes, not their logarithms, a bias of up to a tenth of a bin.
def pitch_histogram(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Sounds (B, S) float -> share of each semitone from LOWEST to HIGHEST among the partials, (B, 84); 0 of silence.

    Partials are the peaks of a spectrum, refined by a parabola through the logarithms of three bins (Smith & Serra
    1987), weighted by magnitude. Overtones count as the tones they are.
    """
    n_fft = 2 ** math.ceil(math.log2(sample_rate * WINDOW))
    window = torch.hann_window(n_fft)
    stft = torch.stft(waveforms, n_fft, n_fft // 2, window=window, pad_mode="constant", return_complex=True)
    level = stft.abs()  # (B, bins, T)
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
