"""What all conditioners that look at pictures have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.conditioning.base import Conditioner
from synesthete.conditioning.fitting import fit_picture
from synesthete.types import Condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor, nn


class ImageConditioner(Conditioner):
    """Pictures -> tokens and a pooled vector; the null is one learned token a place and one learned pooled vector.

    Those derived from it have the parameters `null_tokens` (L, D) and `null_pooled` (D,), and the fields size, channels
    and fit of `fit_picture`, or a `preprocess` of their own.
    """

    reads = "image"
    null_tokens: nn.Parameter
    null_pooled: nn.Parameter

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, C, size, size) uint8; white strokes on black where `fit` is "ink"."""
        mode = "L" if self.config.channels == 1 else "RGB"
        fitted = [fit_picture(picture, self.config.size, mode, self.config.fit) for picture in pictures]
        return torch.stack([torch.from_numpy(array) for array in fitted])

    def null(self, batch_size: int) -> Condition:
        """The condition that shows nothing, (batch_size, ...)."""
        return Condition(
            tokens=self.null_tokens.expand(batch_size, -1, -1), pooled=self.null_pooled.expand(batch_size, -1)
        )
