"""Exponential moving averages of the trained weights, whole or sharded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from diffusers.training_utils import EMAModel

from synesthete.training.sharding import piece_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn


class EMA:
    """Follows the weights after every optimiser step; over few steps at first, growing to `decay`.

    weights: the trained parameters by name, as the optimiser has them.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.names, self.weights = list(weights), list(weights.values())
        self.ema = EMAModel(self.weights, decay=decay, use_ema_warmup=True, power=0.8)

    @property
    def num_steps(self) -> int:
        """How many optimiser steps have been averaged."""
        return self.ema.optimization_step

    def step(self) -> None:
        """Take the weights of one more optimiser step in."""
        self.ema.step(self.weights)

    def by_name(self) -> dict[str, Tensor]:
        """The averages, sharded as the weights are."""
        return dict(zip(self.names, self.ema.shadow_params, strict=True))

    def copy(self) -> None:
        """Make the averages the weights, for good."""
        self.ema.copy_to(self.weights)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in place of the weights, for as long as the context lasts."""
        self.ema.store(self.weights)
        self.ema.copy_to(self.weights)
        try:
            yield
        finally:
            self.ema.restore(self.weights)

    def gather(self) -> dict[str, Tensor]:
        """Whole tensors on the CPU, by their number; every process has to call it."""
        return {f"{i:05d}": whole(p).cpu().contiguous() for i, p in enumerate(self.ema.shadow_params)}

    def restore(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        """Go on from what `gather` gave."""
        self.ema.shadow_params = [piece_of(tensors[f"{i:05d}"], like) for i, like in enumerate(self.weights)]
        self.ema.optimization_step = num_steps
