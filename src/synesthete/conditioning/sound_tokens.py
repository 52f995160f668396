"""A sound's vector as several tokens, as wide as those of a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


class SoundTokens(nn.Module):
    """A sound's vector (B, E), of any length -> (B, num_tokens, width).

    A perceptron E -> hidden -> hidden -> num_tokens * width with LayerNorm, GELU and dropout behind its inner layers,
    a LayerNorm over every token, then what tells the tokens from each other (their places) and from those of a text
    (their kind). Only the direction of the vector is read: published encoders give it no other meaning.
    """

    def __init__(
        self, embedding_width: int, width: int, num_tokens: int = 8, hidden: int = 1024, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.num_tokens, self.scale = num_tokens, math.sqrt(embedding_width)
        self.mlp = nn.Sequential(
            nn.Linear(embedding_width, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_tokens * width),
        )
        self.norm = nn.LayerNorm(width)
        self.places = nn.Parameter(0.02 * torch.randn(num_tokens, width))
        self.kind = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, num_tokens, width)."""
        x = self.scale * F.normalize(embedding, dim=-1)  # about 1 in every number, as layers are initialised for
        tokens = self.norm(self.mlp(x).unflatten(-1, (self.num_tokens, -1)))  # (B, num_tokens, width)
        return tokens + self.places + self.kind
