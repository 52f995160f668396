"""Waveforms that can be used, and their short-time Fourier spectra on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.types import AudioSpec


def check_waveform(waveform: Tensor, longest: int | None = None, holder: str = "codec", remedy: str = "") -> Tensor:
    """Waveforms (B, S) in [-1, 1] as they are.

    longest: samples that the `holder` has room for; None: any number. remedy: for longer ones.

    Raises:
        InputError: no waveforms, too long, or values that are not finite.
    """
    if waveform.ndim != 2 or not waveform.is_floating_point():
        raise InputError(f"sound of {tuple(waveform.shape)} {waveform.dtype}; give waveforms (B, S) in [-1, 1]")
    if longest is not None and waveform.shape[-1] > longest:
        raise InputError(
            f"waveform of {waveform.shape[-1]} samples: this {holder} holds {longest}; "
            f"cut it or {remedy or 'raise codec.num_samples'}"
        )
    if not torch.isfinite(waveform).all():
        raise InputError("waveform with NaN or infinite samples; mend or remove the clip")
    return waveform


def grid(
    spec: AudioSpec, num_samples: int, num_bins: int | None, num_frames: int | None, multiple: int
) -> tuple[int, int]:
    """Bins and frames of a spectrogram: those given, else all there are, padded to whole multiples."""
    whole = (spec.n_fft // 2 + 1, spec.num_frames(num_samples))
    bins, frames = (
        -(-there // multiple) * multiple if given is None else given
        for given, there in zip((num_bins, num_frames), whole, strict=True)
    )
    return bins, frames


def spectrum(waveform: Tensor, window: Tensor, spec: AudioSpec, num_bins: int) -> Tensor:
    """Waveform (B, S) -> complex STFT (B, num_bins, T), centred in silence, a sine of amplitude 1 at 1."""
    window = window.float()
    stft = torch.stft(
        waveform.float(), spec.n_fft, spec.hop_length, window=window, pad_mode="constant", return_complex=True
    )
    return F.pad(stft, (0, 0, 0, max(num_bins - stft.shape[1], 0)))[:, :num_bins] / (window.sum() / 2)


def compressed(cells: Tensor, power: float) -> Tensor:
    """A complex spectrum with every modulus raised to `power`, its phase as it was."""
    return cells * cells.abs().clamp(min=1e-12) ** (power - 1)
