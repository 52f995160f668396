"""Waveforms that can be used, their spectra and mel bands, and back: for codecs, encoders and evaluation alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CACHED = 64  # frames of a spectrum that a core's cache holds, with what is computed on the way


def check_waveform(waveform: Tensor, longest: int | None = None, holder: str = "codec", remedy: str = "") -> Tensor:
    """Waveforms (B, S) in [-1, 1] as they are.

    longest: samples that the `holder` has room for; None: any number. remedy: for longer ones.
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


def complex_spectrum(waveform: Tensor, window: Tensor, spec: AudioSpec, num_bins: int) -> Tensor:
    """Waveform (B, S) -> complex STFT (B, num_bins, T), centred in silence, a sine of amplitude 1 at 1."""
    window = window.float()
    stft = torch.stft(
        waveform.float(), spec.n_fft, spec.hop_length, window=window, pad_mode="constant", return_complex=True
    )
    return F.pad(stft, (0, 0, 0, max(num_bins - stft.shape[1], 0)))[:, :num_bins] / (window.sum() / 2)


def compressed(cells: Tensor, power: float) -> Tensor:
    """A complex spectrum with every modulus raised to `power`, its phase as it was."""
    return cells * cells.abs().clamp(min=1e-12) ** (power - 1)


def mel_edges(sample_rate: int, n_mels: int, htk: bool = True, fmax: float | None = None) -> NDArray[np.float64]:
    """Where triangles begin, peak and end, in Hz (n_mels + 2,): from 0 to fmax, or to half the sample rate."""
    top = np.float64(fmax or sample_rate / 2)
    highest = 2595 * np.log10(1 + top / 700) if htk else 15 + np.log(top / 1000) * 27 / np.log(6.4)
    if not htk and top < 1000:  # Slaney's is straight up to 1 kHz
        highest = 3 * top / 200
    mels = np.linspace(0, highest, n_mels + 2)
    if htk:
        return 700 * (10 ** (mels / 2595) - 1)
    return np.where(mels < 15, 200 / 3 * mels, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))


@lru_cache(maxsize=16)
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, htk: bool = True, fmax: float | None = None) -> Tensor:
    """Triangles of height 1 on HTK's mel scale, or else on Slaney's, (n_mels, n_fft / 2 + 1).

    To the bit those of librosa, whose import takes longer than torch's.
    """
    edges = mel_edges(sample_rate, n_mels, htk, fmax)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1 / sample_rate))
    widths = np.diff(edges)[:, None]
    triangles = np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:])
    return torch.from_numpy(np.maximum(0, triangles).astype(np.float32))


def bands_of(spec: AudioSpec) -> Tensor:
    """The filterbank (n_mels, n_fft / 2 + 1) of a log-mel."""
    return mel_filterbank(spec.sample_rate, spec.n_fft, spec.n_mels, spec.mel_scale == "htk", spec.fmax)


@lru_cache(maxsize=16)
def inverse_bands(spec: AudioSpec) -> Tensor:
    """The pseudo-inverse of `bands_of`, (n_fft / 2 + 1, n_mels)."""
    return torch.linalg.pinv(bands_of(spec))


@lru_cache(maxsize=16)
def cosine_basis(num: int) -> Tensor:
    """The orthonormal DCT-II of `num` values as a matrix (num, num), one cosine a row, the slowest first."""
    place = torch.arange(num, dtype=torch.float64)
    basis = (torch.pi / num * place[:, None] * (place + 0.5)).cos() * (2 / num) ** 0.5
    basis[0] /= 2**0.5
    return basis.float()


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


def griffin_lim(
    magnitude: Tensor,
    window: Tensor,
    hop_length: int,
    *,
    num_samples: int,
    num_iterations: int = 32,
    momentum: float = 0.99,
    pad_mode: str = "reflect",
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Waveforms (B, num_samples) whose centred STFT has about the given magnitude (B, n_fft / 2 + 1, T).

    Source: fast Griffin-Lim, Perraudin et al. 2013 (algorithm 2). Phases start at random, one generator a sample, so
    that a batch equals its singles; without generators they start from seed 0. pad_mode: of the STFT that the magnitude
    is of, as torch names it.
    """
    n_fft, num_frames = window.numel(), num_samples // hop_length + 1
    magnitude = F.pad(magnitude, (0, max(num_frames - magnitude.shape[-1], 0)))[..., :num_frames]
    generators = generators or [torch.Generator().manual_seed(0) for _ in magnitude]
    turns = torch.stack([torch.rand(magnitude.shape[1:], generator=g) for g in generators]).to(magnitude.device)
    # A few frames at a time from one waveform to the next, halves the time; the caches of other devices are their own.
    size = max(CACHED // len(magnitude), 1) if magnitude.device.type == "cpu" else num_frames
    moduli, angles = (
        part.transpose(1, 2).contiguous().split(size, dim=1) for part in (magnitude, 2 * torch.pi * turns)
    )  # each (B, t, F)
    middle = slice(n_fft // 2, n_fft // 2 + num_samples)
    shares = overlap_add([window.square().expand(1, num_frames, n_fft)], num_frames, hop_length)[:, middle]

    def joined(cells: Iterable[Tensor]) -> Tensor:
        """The waveform (B, num_samples) of an STFT in blocks (B, t, F)."""
        frames = (torch.fft.irfft(block, n_fft) * window for block in cells)
        return overlap_add(frames, num_frames, hop_length)[:, middle] / shares

    before = [torch.zeros_like(modulus, dtype=torch.complex64) for modulus in moduli]

    def rebuilt(waveform: Tensor) -> Iterator[Tensor]:
        """Its STFT with the given moduli, its phases led on from those of the STFT before."""
        padded = F.pad(waveform, (n_fft // 2, n_fft // 2), mode=pad_mode)
        blocks = padded.unfold(-1, n_fft, hop_length).split(size, dim=1)
        for i, (block, modulus) in enumerate(zip(blocks, moduli, strict=True)):
            cells = torch.fft.rfft(block * window)
            led = torch.view_as_real(cells).sub(torch.view_as_real(before[i]), alpha=momentum / (1 + momentum))
            before[i] = cells
            power = torch.addcmul(led[..., 0].square(), led[..., 1], led[..., 1])
            yield torch.view_as_complex(led).mul_(power.clamp_(min=1e-32).rsqrt_().mul_(modulus))

    waveform = joined(torch.polar(*pair) for pair in zip(moduli, angles, strict=True))
    for _ in range(num_iterations):
        waveform = joined(rebuilt(waveform))
    return waveform


def overlap_add(blocks: Iterable[Tensor], num_frames: int, hop_length: int) -> Tensor:
    """Frames (B, t, n_fft) in blocks, `num_frames` in all, added up a hop apart from each other: (B, samples)."""
    rows, first = torch.zeros(0), 0
    for block in blocks:
        end, parts = first + block.shape[1], block.split(hop_length, dim=-1)
        if not first:
            rows = block.new_zeros(len(block), num_frames + len(parts) - 1, hop_length)
        for i, part in enumerate(parts):
            rows[:, first + i : end + i, : part.shape[-1]] += part
        first = end
    return rows.flatten(1)
