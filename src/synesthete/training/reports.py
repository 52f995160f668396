"""What a run tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class StepReport:
    """What the loop tells after every optimiser step, and while it looks at pictures beforehand."""

    stage: str
    step: int
    num_steps: int
    loss: float | None = None
    seconds_per_step: float | None = None
    notes: list[str] = field(default_factory=list)


class DivergedError(RuntimeError):
    """Loss or gradients are not finite, or rise at one place again and again; the last good checkpoint is kept."""
