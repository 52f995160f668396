"""How far the spectra of two sounds are apart, and highs that cost nothing: a copy of the band below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from synesthete.evaluation.audio_features.spectra import FLOOR_DB, frame_sizes
from synesthete.pipeline.cascade import CROSSING

if TYPE_CHECKING:
    from torch import Tensor

BATCH_SIZE = 16


def fitted(waveforms: Tensor, num_samples: int) -> Tensor:
    """(n, S) cut, or padded with silence, to (n, num_samples): resampling may round to a sample more or less."""
    return F.pad(waveforms, (0, max(num_samples - waveforms.shape[-1], 0)))[..., :num_samples]


def spectra(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Complex STFT (B, F, T) of sounds (B, S), a full-scale sine at 1."""
    n_fft, hop_length = frame_sizes(sample_rate)
    window = torch.hann_window(n_fft)
    stft = torch.stft(waveforms, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
    return stft / (window.sum() / 2)


def frequencies(sample_rate: int) -> Tensor:
    """The frequency of each bin of `spectra` (F,) in Hz."""
    return torch.fft.rfftfreq(frame_sizes(sample_rate)[0], 1 / sample_rate)


def spectral_distances(real: Tensor, made: Tensor, sample_rate: int, low_rate: int) -> dict[str, Tensor]:
    """Log-spectral distance (n,) in dB of each sound (n, S), above the band's end, in all, and below where it is given.

    The root mean square over bins of the difference in level, no lower than FLOOR_DB, then the mean over frames
    (Gray & Markel 1976).
    """
    frequency, band = frequencies(sample_rate), low_rate / 2
    parts = {"above": frequency >= band, "all": frequency >= 0, "below": frequency < CROSSING[0] * band}
    found: dict[str, list[Tensor]] = {name: [] for name in parts}
    for a, b in zip(real.split(BATCH_SIZE), made.split(BATCH_SIZE), strict=True):
        difference = decibels(spectra(a, sample_rate)) - decibels(spectra(b, sample_rate))  # (B, F, T)
        for name, inside in parts.items():
            found[name].append(difference[:, inside].square().mean(dim=1).sqrt().mean(dim=1))
    return {name: torch.cat(values) for name, values in found.items()}


def decibels(spectrum: Tensor) -> Tensor:
    """Level in dB, no lower than FLOOR_DB."""
    return 20 * spectrum.abs().clamp(min=10 ** (FLOOR_DB / 20)).log10()


def mean_spectrum(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Root mean square magnitude of each bin (F,) over sounds (n, S)."""
    total = sum(
        spectra(part, sample_rate).abs().square().mean(dim=2).sum(dim=0) for part in waveforms.split(BATCH_SIZE)
    )
    assert isinstance(total, torch.Tensor)
    return (total / len(waveforms)).sqrt()


def spectral_copy(given: Tensor, sample_rate: int, low_rate: int, tilt: Tensor) -> Tensor:
    """Sounds (n, S) with the upper half of their band copied upwards, again and again, scaled by a mean spectrum.

    tilt: as `mean_spectrum` has it (F,).
    """
    n_fft, hop_length = frame_sizes(sample_rate)
    end = int(CROSSING[1] * low_rate / 2 * n_fft / sample_rate)
    first = end // 2
    source = torch.arange(len(tilt))
    source[end:] = first + (source[end:] - first) % (end - first)
    gain = tilt / tilt[source].clamp(min=1e-12)
    window, found = torch.hann_window(n_fft), []
    for part in given.split(BATCH_SIZE):
        stft = torch.stft(part, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)
        copied = stft[:, source] * gain[:, None]
        found.append(torch.istft(copied, n_fft, hop_length, window=window, length=given.shape[-1]))
    return torch.cat(found)
