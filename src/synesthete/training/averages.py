"""Weights averaged over the steps of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable


POWER = 0.8


class Averages:
    """Exponential averages: after n steps by a decay of 1 - n^-POWER, so over few steps at first, at most `decay`.

    Attributes:
        tensors: the averages, one of each parameter, sharded as it is.
        num_steps: how many steps are in them.

    Source: the warm-up of K. Crowson's averages, as `EMAModel` of diffusers has it, which takes seconds to import.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.tensors = [parameter.detach().clone() for parameter in parameters]
        self.decay, self.num_steps = decay, 0

    @torch.no_grad()
    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Take the weights of one more step in."""
        self.num_steps += 1
        decay = min(1 - self.num_steps**-POWER, self.decay)
        for average, parameter in zip(self.tensors, parameters, strict=True):
            average.sub_((1 - decay) * (average - parameter))


def set_values(parameters: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Give parameters other values, which may be on another device."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value.data)
