"""What a codec measures of a corpus: mean and spread of every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def measure_channels(batches: Iterable[Tensor], least: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over batches (B, C, H, W): two of (C, 1, 1) float64, on the CPU.

    least: deviation that is given to a channel that is everywhere the same, or nearly.

    Raises:
        InputError: no batches.
    """
    num, total, squares = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for batch in batches:
        values = batch.double().transpose(0, 1).flatten(1).cpu()  # (C, B * H * W)
        num += values.shape[1]
        total = total + values.sum(1)
        squares = squares + values.square().sum(1)
    if not num:
        raise InputError("nothing to measure the codec on; add some data")
    mean = total / num
    deviation = (squares / num - mean.square()).clamp(min=least**2).sqrt()
    return mean.view(-1, 1, 1), deviation.view(-1, 1, 1)
