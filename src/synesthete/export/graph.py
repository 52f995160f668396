"""What goes into one ONNX file: a network of plain tensors with named inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.conditioning.labels import Labels
from synesthete.types import Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.pipeline import Pipeline

BATCH = 2  # of examples: torch takes sizes of 0 and 1 for constants
TOLERANCE = 1e-3  # of float32 sums in another order, through all layers
# The parts of a condition, and the field of a denoiser that says whether it reads them.
READ_BY = {
    "tokens": "condition_width",
    "mask": "condition_width",
    "pooled": "pooled_width",
    "spatial": "spatial_channels",
}


@dataclass(frozen=True)
class Graph:
    """A network and how to call it.

    inputs: an example of each, by the name of `module.forward`'s argument, batch first. outputs: their names.
    oracle: what the pipeline itself calls, by which the file is judged. tolerance: how far it may be from that, as a
    share of the largest value (of uint8: in levels). facts: what else the file says of itself.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    tolerance: float
    oracle: Callable[..., Any]
    facts: dict[str, Any] = field(default_factory=dict)


class Predict(nn.Module):
    """A denoiser of plain tensors: the parts of the condition are arguments of their own."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self,
        x_t: Tensor,
        timestep: Tensor,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        pooled: Tensor | None = None,
        spatial: Tensor | None = None,
    ) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) float. The rest as in `Condition`. Returns the prediction, as x_t."""
        return self.denoiser(x_t, timestep, Condition(tokens, mask, pooled, spatial))


class LookUp(nn.Module):
    """Class numbers as what the denoiser reads."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """label: (B,) int64, the number of classes for the null. Returns tokens (B, L, D) and pooled (B, D)."""
        told = self.labels._look_up(label)
        assert told.tokens is not None and told.pooled is not None
        return told.tokens, told.pooled


def denoiser_graph(pipeline: Pipeline) -> Graph:
    """x_t, timestep and those parts of the condition that the model reads -> prediction, of the process' own type."""
    denoiser = pipeline.denoiser
    told = pipeline.conditioner.null(BATCH)
    read = [
        part
        for part, field in READ_BY.items()
        if denoiser.config.get(field) is not None and getattr(told, part) is not None
    ]
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "x_t": torch.randn(BATCH, *pipeline.codec.shape, generator=generator),
        "timestep": torch.linspace(0.2, 0.9, BATCH) * pipeline.process.num_train_timesteps,
    }
    for part in read:
        shape = getattr(told, part).shape
        # A row of keys that are all masked has no softmax.
        draw = torch.ones(shape, dtype=torch.bool) if part == "mask" else torch.randn(shape, generator=generator)
        inputs[part] = draw
    module = Predict(denoiser)
    return Graph(module, inputs, ("prediction",), TOLERANCE, oracle=module)


def conditioner_graph(pipeline: Pipeline) -> Graph | None:
    """Class numbers -> tokens and pooled; None for a model that is told nothing, or told by another network."""
    labels = pipeline.conditioner
    if not isinstance(labels, Labels):
        return None
    null = labels.config.num_classes
    inputs = {"label": torch.arange(BATCH) % (null + 1)}
    module = LookUp(labels)
    return Graph(module, inputs, ("tokens", "pooled"), TOLERANCE, oracle=module, facts={"null_label": null})
