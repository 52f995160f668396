"""Pictures shown a little otherwise each time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


class Affine:
    """Random rotation, scaling, shear and shift, for pictures whose class does not depend on them.

    Args:
        degrees, scale, shear, shift: standard deviations; scale as a share, shift as a share of the side.
    """

    def __init__(self, degrees: float = 7.0, scale: float = 0.08, shear: float = 0.1, shift: float = 0.03) -> None:
        self.degrees, self.scale, self.shear, self.shift = degrees, scale, shear, shift

    def __call__(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, H, W) uint8 -> the same, each moved by its own draw."""
        draws = torch.randn(len(pictures), 6, generator=generator)
        angle = draws[:, 0] * math.radians(self.degrees)
        scale_x, scale_y = 1 + draws[:, 1] * self.scale, 1 + draws[:, 2] * self.scale
        matrix = torch.zeros(len(pictures), 2, 3)
        matrix[:, 0, 0] = angle.cos() * scale_x
        matrix[:, 0, 1] = draws[:, 3] * self.shear - angle.sin()
        matrix[:, 1, 0] = angle.sin()
        matrix[:, 1, 1] = angle.cos() * scale_y
        matrix[:, :, 2] = draws[:, 4:] * 2 * self.shift
        grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
        moved = F.grid_sample(pictures.float(), grid, padding_mode="border", align_corners=False)
        return moved.round().to(torch.uint8)
