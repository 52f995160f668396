"""The debug twin, as tests change and use it, and how little a run looks at itself here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.objectives import one_step
from synesthete.recipes import find_recipe
from synesthete.training import validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.config import Recipe
    from synesthete.objectives import Parts

DEBUG = "image-to-speech-digits-debug"


def debug_recipe(*assignments: str) -> Recipe:
    plain = [f"stages.{name}.precision='no'" for name in ("align", "denoise")]
    return find_recipe(DEBUG, [*plain, *assignments])


def awake(parts: Parts) -> Parts:
    generator = torch.Generator().manual_seed(0)
    for parameter in parts.denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1, generator=generator)
    return parts


def shorten_looks(change: Callable[..., None] = setattr) -> None:
    """Looks at 4 samples at two timesteps, which at 64 and five are most of what a debug run computes."""
    change(validation, "NUM_SAMPLES", 4)
    change(one_step, "GAP_FRACTIONS", (0.1, 0.9))
    change(one_step, "SENSITIVITY_FRACTIONS", (0.5, 0.97))
