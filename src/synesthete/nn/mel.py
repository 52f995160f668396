"""Mel bands of sound: one filterbank and one spectrogram, for codecs, encoders and evaluation alike."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, htk: bool = True) -> Tensor:
    """Triangles of height 1 on HTK's mel scale, or else on Slaney's, (n_mels, n_fft / 2 + 1)."""
    from librosa.filters import mel  # takes a moment, which what only registers its classes does without

    return torch.from_numpy(mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=None)).float()


@lru_cache(maxsize=16)
def inverse_filterbank(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """The pseudo-inverse of HTK's, (n_fft / 2 + 1, n_mels)."""
    return torch.linalg.pinv(mel_filterbank(sample_rate, n_fft, n_mels))


def mel_spectrogram(
    waveforms: Tensor,
    filterbank: Tensor,
    window: Tensor,
    hop_length: int,
    *,
    full_scale: float | Tensor = 1.0,
    power: int = 1,
    pad_mode: str = "reflect",
) -> Tensor:
    """Waveforms (B, S) -> magnitude of each mel band, or its square with `power` 2, (B, n_mels, T).

    filterbank: (n_mels, n_fft / 2 + 1). window: (n_fft,). full_scale: the magnitude that is called 1. pad_mode: of half
    a window at both ends.
    """
    stft = torch.stft(waveforms, len(window), hop_length, window=window, pad_mode=pad_mode, return_complex=True)
    return filterbank @ (stft.abs() / full_scale) ** power
