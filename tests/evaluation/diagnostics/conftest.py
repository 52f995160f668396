"""Pictures of three colours, and a model of them that is told nothing."""

from __future__ import annotations

import pytest

from synesthete.conditioning.labels import Unconditional
from synesthete.config import build
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


@pytest.fixture(scope="module")
def silent(data):
    """An unconditional model of the same pictures."""
    recipe = tiny_recipe()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    return tiny_pipeline(recipe)
