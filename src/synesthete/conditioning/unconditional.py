"""No condition at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.conditioning.base import Conditioner
from synesthete.types import Condition

if TYPE_CHECKING:
    from torch import Tensor


class Unconditional(Conditioner):
    """Says nothing, whatever it is shown: for a denoiser that reads neither tokens nor a pooled vector.

    Such a model has nothing to be guided by: its samples are drawn at guidance_scale 1.
    """

    reads = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(1))  # diffusers loads no part without a tensor

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """An empty condition."""
        return Condition()

    def null(self, batch_size: int) -> Condition:
        """An empty condition."""
        return Condition()
