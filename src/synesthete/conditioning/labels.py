"""Class labels as learned vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from synesthete.conditioning.base import Conditioner, check_labels
from synesthete.types import Condition

if TYPE_CHECKING:
    from torch import Tensor


class Labels(Conditioner):
    """A class number (B,) as `num_tokens` learned tokens and one pooled vector; the null is a class of its own.

    Several tokens, since over a single key softmax is 1 and cross-attention a constant (DESIGN law 4).
    """

    def __init__(self, num_classes: int = 10, width: int = 256, num_tokens: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_classes + 1, num_tokens * width)
        self.pooled = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.pooled.weight, std=0.5)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: class numbers (B,) int64 in 0..num_classes - 1.

        Raises:
            InputError: a number out of that range.
        """
        return self._look_up(check_labels(raw, self.config.num_classes))

    def null(self, batch_size: int) -> Condition:
        """The condition that says nothing, (batch_size, ...)."""
        device = self.pooled.weight.device
        return self._look_up(torch.full((batch_size,), self.config.num_classes, device=device))

    def _look_up(self, raw: Tensor) -> Condition:
        tokens = self.tokens(raw).unflatten(-1, (self.config.num_tokens, -1))  # (B, L, D)
        return Condition(tokens=tokens, pooled=self.pooled(raw))
