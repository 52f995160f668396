"""The parts of a recipe together, and what every objective is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import torch

    from synesthete.diffusion.process import Process
    from synesthete.types import Batch


@dataclass
class Parts:
    """The parts of a recipe, made: what a pipeline is put together from."""

    codec: Any
    conditioner: Any
    denoiser: Any
    process: Process

    def modules(self) -> dict[str, nn.Module]:
        """The parts that have weights, by name."""
        return {"codec": self.codec, "conditioner": self.conditioner, "denoiser": self.denoiser}


class Objective(nn.Module):
    """Base of all objectives: `attach` gives it the parts, calling it gives {"loss": ..., named parts}."""

    def attach(self, parts: Parts) -> Objective:
        """Take the parts in, so that they are wrapped, moved and saved together with the objective."""
        self.parts = parts
        for name, module in parts.modules().items():
            self.add_module(name, module)
        return self

    def prepare(self, samples: Any) -> None:
        """Take from the training samples what the loss needs to know of them all."""

    def mask_condition(self, batch: Batch) -> Batch:
        """The batch with no more of its condition than this objective ever tells."""
        return batch

    def encode(self, batch: Batch) -> torch.Tensor:
        """x_0 of a batch, encoded now unless that was done beforehand."""
        return batch.signal if batch.encoded else self.parts.codec.encode(batch.signal)
