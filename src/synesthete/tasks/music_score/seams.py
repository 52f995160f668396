"""Where the windows of long music meet: how far its level and its spectrum jump there, beside everywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.evaluation.audio_features.spectra import frame_sizes, log_mel, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.pipeline.canvas import Frames

LEVEL, SPECTRUM = "level", "spectrum"
REACH = 0.04  # seconds about a border in which a jump is one of the border


def window_borders(frames: Frames, overlap: int, num_frames: int) -> list[float]:
    """Seconds of a sound of so many frames at which a window gives way to the next."""
    step = frames.whole - frames.edge - overlap
    return [frames.seconds(first) for first in range(frames.whole - frames.edge, num_frames, step)]


def jumps(sounds: Sounds, sample_rate: int) -> dict[str, Tensor]:
    """By how many dB sounds (n, S) jump from frame to frame (n, T): their level, and the mean of their bands'."""
    found: dict[str, list[Tensor]] = {LEVEL: [], SPECTRUM: []}
    for part in parts(sounds):
        levels = log_mel(part, sample_rate)  # (B, F, T)
        together = 10 * (10 ** (levels / 10)).sum(dim=1).log10()
        found[LEVEL].append(together.diff(dim=-1).abs())
        found[SPECTRUM].append(levels.diff(dim=-1).abs().mean(dim=1))
    return {name: torch.cat(values) for name, values in found.items()}


def about_borders(jumped: Tensor, borders: Sequence[float], sample_rate: int) -> tuple[Tensor, Tensor]:
    """Of jumps (n, T) the largest about each border (n, k), and about places as wide everywhere else (n, m)."""
    frame = frame_sizes(sample_rate)[1] / sample_rate
    reach = max(round(REACH / frame), 1)
    width, total = 2 * reach + 1, jumped.shape[-1]
    centres = [min(max(round(second / frame), reach), total - 1 - reach) for second in borders]
    at = torch.stack([jumped[:, c - reach : c + reach + 1].amax(dim=1) for c in centres], dim=1)
    others = [
        first
        for first in range(0, total - width + 1, width)
        if all(first + width <= c - reach or first > c + reach for c in centres)
    ]
    elsewhere = torch.stack([jumped[:, first : first + width].amax(dim=1) for first in others], dim=1)
    return at, elsewhere
