"""Samples that a model made, beside the noise that it made them of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synesthete.data.samples import Samples

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from synesthete.data.rows import Rows
    from synesthete.types import Batch


@dataclass
class NoisePairs(Samples):
    """Pairs of noise and x_0, each made for the condition of a training sample.

    samples: whose conditions these are, as they are. places: (n,), which of them. pairs: (n, 2, C, H, W), noise first.
    """

    samples: Samples
    places: Tensor
    pairs: Rows

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """As every sample, with the noise."""
        noise, x_0 = self.pairs[indices].float().unbind(dim=1)
        return replace(self.samples.batch(self.places[indices], generator), signal=x_0, noise=noise, encoded=True)
