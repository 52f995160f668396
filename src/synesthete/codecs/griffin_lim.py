"""Phase from magnitude alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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
    n_fft = window.numel()
    missing = num_samples // hop_length + 1 - magnitude.shape[-1]
    magnitude = F.pad(magnitude, (0, max(missing, 0)))[..., : num_samples // hop_length + 1]
    generators = generators or [torch.Generator().manual_seed(0) for _ in magnitude]
    turns = torch.stack([torch.rand(magnitude.shape[1:], generator=g) for g in generators]).to(magnitude.device)
    angles = torch.polar(torch.ones_like(magnitude), 2 * torch.pi * turns)
    previous = torch.zeros_like(angles)
    for _ in range(num_iterations):
        waveform = torch.istft(magnitude * angles, n_fft, hop_length, window=window, length=num_samples)
        rebuilt = torch.stft(waveform, n_fft, hop_length, window=window, pad_mode=pad_mode, return_complex=True)
        angles = rebuilt - momentum / (1 + momentum) * previous
        angles = angles / angles.abs().clamp(min=1e-16)
        previous = rebuilt
    return torch.istft(magnitude * angles, n_fft, hop_length, window=window, length=num_samples)
