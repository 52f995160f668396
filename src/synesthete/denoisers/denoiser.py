"""What every denoiser is, and what can be asked of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from synesthete.nn.part import Part
from synesthete.types import Condition, InputError

__all__ = ["ConditionedDenoiser", "Denoiser"]


class Denoiser(Part):
    """Base of all denoisers: x_t, a timestep and a condition -> the prediction.

    Attributes:
        has_base: whether it is a base, `unet`, with adapters beside it, so that both can be told apart.
        adapter_scale: how much the network listens to a sound, 1 as it was trained; None of one that hears none.
    """

    has_base: bool = False
    adapter_scale: float | None = None

    def precompute(self, condition: Condition) -> Condition:
        """The condition with the keys and values of every layer, computed once per sample instead of once per step."""
        return condition

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        raise NotImplementedError

    def enable_gradient_checkpointing(self) -> None:
        """Let its blocks compute their activations twice, to hold fewer."""
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                block: Any = module
                block.gradient_checkpointing = True
                # What diffusers' blocks ask for.
                block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    @property
    def gates(self) -> dict[str, float]:
        """How far each gated attention is open, by its place in the network."""
        return {}


# The parts of a condition, and the field that says how wide the network reads them; None there reads none.
READ_BY = {"tokens": "condition_width", "pooled": "pooled_width", "spatial": "spatial_channels"}


class ConditionedDenoiser(Denoiser):
    """Base of denoisers that are told by `Condition.tokens`, `pooled` and `spatial`, as their fields say.

    Those derived from it make `embed_timestep`, and `embed_pooled`, None where no pooled vector is read.
    """

    embed_timestep: Any
    embed_pooled: Any
    gradient_checkpointing = False

    def readers(self) -> Iterable[Any]:
        """What makes keys and values of the condition's tokens, in the order in which it runs."""
        raise NotImplementedError

    def precompute(self, condition: Condition) -> Condition:
        """The condition with the keys and values of every layer, computed once per sample instead of once per step.

        Raises:
            ValueError: the condition lacks a part that this network reads.
        """
        self.check_condition(condition)
        if self.config.condition_width is None:
            return condition
        assert condition.tokens is not None
        tokens = condition.tokens.to(self.dtype)
        return replace(condition, keys_values=tuple(reader.keys_values(tokens) for reader in self.readers()))

    def check_condition(self, condition: Condition) -> None:
        """Make sure that a condition has what this network reads.

        Raises:
            ValueError: it lacks a part.
        """
        for part, field in READ_BY.items():
            if self.config.get(field) is not None and getattr(condition, part) is None:
                name, width = type(self).__name__, self.config[field]
                raise ValueError(f"this {name} reads a condition's {part} ({field} {width}), which is None")

    def join_spatial(self, x_t: Tensor, condition: Condition) -> Tensor:
        """x_t (B, C, H, W), and the spatial condition as more channels where one is read.

        Raises:
            InputError: a spatial condition of another height or width.
        """
        if self.config.get("spatial_channels") is None:
            return x_t
        assert condition.spatial is not None
        if condition.spatial.shape[-2:] != x_t.shape[-2:]:
            here, there = (" x ".join(map(str, t.shape[-2:])) for t in (condition.spatial, x_t))
            raise InputError(f"spatial condition of {here} beside x_t of {there}; resize it in the conditioner")
        return torch.cat([x_t, condition.spatial.to(x_t.dtype)], dim=1)

    def signal(self, timestep: Tensor, condition: Condition) -> Tensor:
        """What adaptive normalisation is told: the timestep, and the pooled condition where one is read; (B, D)."""
        signal = self.embed_timestep(timestep)
        if self.embed_pooled is not None:
            assert condition.pooled is not None
            signal = signal + self.embed_pooled(condition.pooled.to(self.embed_pooled.weight.dtype))
        return F.silu(signal)

    def run(self, block: Any, *arguments: Any) -> Tensor:
        """What a block makes of the arguments; with `gradient_checkpointing` it is computed again for its gradient."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False)
        return block(*arguments)
