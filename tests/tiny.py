"""The debug twin, as tests change and use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.recipes import find_recipe

if TYPE_CHECKING:
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
