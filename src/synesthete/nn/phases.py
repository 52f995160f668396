"""Phases for magnitudes that have none: Griffin-Lim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

CACHED = 64  # frames of a spectrum that a core's cache holds, with what is computed on the way


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
