"""Windows of scores as samples: what they are told, and which notes of each are held while the rest is learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from synesthete.data.samples import Samples
from synesthete.data.scores.grid import BAR
from synesthete.types import Batch, ScoreSketch

# How often what is held in training: nothing, else some voices, else some bars, else both.
HELD_SHARES = (0.5, 0.2, 0.2, 0.1)


@dataclass
class ScoreSamples(Samples):
    """Windows of scores and what belongs to each.

    grids: (n, V, 2, T) uint8 as `to_grid` has them. labels: (n,) keys, 12 * mode + tonic. begins, ends: (n,) whether
    the piece does in the window, 0 or 1. shifts: (n, 2), the least and the greatest number of semitones by which it may
    be moved. pieces: (n,), which of `names` each is a window of. augmentation: True moves each by chance.
    """

    grids: Tensor
    labels: Tensor
    begins: Tensor
    ends: Tensor
    shifts: Tensor
    pieces: Tensor
    names: tuple[str, ...]
    augmentation: Any = None
    x_0: None = None

    def __len__(self) -> int:
        return len(self.grids)

    def take(self, places: Tensor) -> ScoreSamples:
        """These windows alone, by number or mask."""
        parts = ("grids", "labels", "begins", "ends", "shifts", "pieces")
        return replace(self, **{name: getattr(self, name)[places] for name in parts})

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The windows at `indices` (B,), each moved, and partly held, by its own draws of `generator`."""
        grids, labels = self.grids[indices], self.labels[indices]
        if self.augmentation:
            low, high = self.shifts[indices].T
            chance = torch.rand(len(indices), generator=generator)
            shift = low + (chance * (high - low + 1)).long()
            grids, labels = transpose(grids, shift), labels // 12 * 12 + (labels + shift) % 12
        num_voices, num_columns = grids.shape[1], grids.shape[-1]
        sketch = ScoreSketch(
            tonic=labels % 12,
            mode=labels // 12,
            begins=self.begins[indices],
            ends=self.ends[indices],
            voices=grids,
            held=draw_held(len(indices), num_voices, num_columns, generator),
        )
        return Batch(signal=grids, raw=sketch, label=labels)


def transpose(grids: Tensor, shift: Tensor) -> Tensor:
    """Grids (B, V, 2, T) moved by semitones (B,); rests stay rests."""
    pitch = grids[:, :, 0].long()
    moved = torch.where(pitch > 0, pitch + shift[:, None, None], 0)
    return torch.stack([moved.to(grids.dtype), grids[:, :, 1]], dim=2)


def draw_held(size: int, num_voices: int, num_columns: int, generator: torch.Generator) -> Tensor:
    """(B, V, T) of which notes are held: none, one voice or more, bars (the first few, or any), or voices and bars."""
    kind = torch.rand(size, generator=generator)
    none, voices, bars, _ = torch.tensor(HELD_SHARES).cumsum(0)
    num_held = torch.randint(1, max(num_voices, 2), (size, 1), generator=generator)
    rank = torch.rand(size, num_voices, generator=generator).argsort(1).argsort(1)
    by_voice = (rank < num_held) & (((kind >= none) & (kind < voices)) | (kind >= bars))[:, None]  # (B, V)
    num_bars = num_columns // BAR
    share = torch.rand(size, 1, generator=generator)
    first = torch.arange(num_bars) < (share * num_bars).ceil().clamp(max=num_bars - 1)
    any_ = torch.rand(size, num_bars, generator=generator) < share
    is_prefix = torch.rand(size, 1, generator=generator) < 0.5
    by_bar = torch.where(is_prefix, first, any_) & (kind >= voices)[:, None]  # (B, bars)
    by_column = by_bar.repeat_interleave(BAR, dim=1)  # (B, T)
    return by_voice[:, :, None] | by_column[:, None]
