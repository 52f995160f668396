"""What every denoiser is, and what can be asked of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.nn.part import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from synesthete.types import Condition


class Denoiser(Part):
    """Base of all denoisers: x_t, a timestep and a condition -> the prediction.

    Attributes:
        has_base: whether it is a base, `unet`, with adapters beside it, so that both can be told apart.
        adapter_scale: how much the network listens to a sound, 1 as it was trained; None of one that hears none.
    """

    _supports_gradient_checkpointing = True
    has_base: bool = False
    adapter_scale: float | None = None

    def precompute(self, condition: Condition) -> Condition:
        """The condition with the keys and values of every layer, computed once per sample instead of once per step."""
        return condition

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        raise NotImplementedError

    def groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Its parameters by what a stage can train alone; none where it is trained whole."""
        return {}

    @property
    def gates(self) -> dict[str, float]:
        """How far each gated attention is open, by its place in the network."""
        return {}
