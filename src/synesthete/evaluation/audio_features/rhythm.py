"""When something begins: onset strength, onsets a second, and after which times the onsets come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from synesthete.evaluation.audio_features.spectra import FLOOR_DB

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST, LONGEST = 0.2, 2.0  # seconds between beats: 300 to 30 a minute
AUDIBLE = 20.0  # dB above the floor: the flicker of what is nearly silent begins nothing
NEAR = 0.05  # seconds around an onset without another
AROUND = 0.2  # seconds around, whose mean an onset exceeds
RISE = 1.5  # dB, mean over the bands, that it does so by


# Not librosa's: its onset strength is this line, behind seconds of compilation by numba, and its tempogram is of a few
# seconds around each frame, every frame at the same height, so that it cannot say how surely onsets come again.
def onset_strength(log_mel: Tensor) -> Tensor:
    """Log-mel (B, F, T) in dB -> how much louder its bands become from one frame to the next, (B, T - 1) in dB.

    Spectral flux: the mean over bands of the rises (Bello et al. 2005, section III).
    """
    return log_mel.clamp(min=FLOOR_DB + AUDIBLE).diff(dim=-1).clamp(min=0).mean(dim=1)


def onset_rate(strength: Tensor, frame_rate: float) -> Tensor:
    """Onsets a second (B,): peaks of the strength (B, T), `frame_rate` frames a second, well above the mean around."""
    near, around = (2 * max(1, round(seconds * frame_rate)) + 1 for seconds in (NEAR, AROUND))
    x = strength.unsqueeze(1)
    highest = F.max_pool1d(x, near, 1, near // 2)
    mean = F.avg_pool1d(x, around, 1, around // 2, count_include_pad=False)
    peaks = (x == highest) & (x > mean + RISE)
    return peaks.sum(dim=(1, 2)) * frame_rate / max(strength.shape[-1], 1)


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
