"""Samples that a model made, beside the noise that it made them of and what it was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.data.samples import Samples
from synesthete.types import Batch, Condition

if TYPE_CHECKING:
    from synesthete.data.rows import Rows


@dataclass
class NoisePairs(Samples):
    """Pairs of noise and x_0. conditions, labels: (n, ...), of each. pairs: (n, 2, C, H, W), noise first."""

    conditions: Condition
    labels: Tensor
    pairs: Rows

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """x_0 with its noise, and what was told as a condition; nothing is drawn."""
        noise, x_0 = self.pairs[indices].float().unbind(dim=1)
        told = self.conditions[indices].to(torch.float32)
        return Batch(signal=x_0, raw=told, label=self.labels[indices], encoded=True, noise=noise)
