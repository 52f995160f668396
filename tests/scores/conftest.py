"""A model that plays scores, untrained, and the data that it would learn from."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from synesthete import tasks
from synesthete.training import assembly
from tiny import awake
from tiny_scores import tiny_scores


class Untrained(NamedTuple):
    recipe: object
    prepared: object
    pipeline: object
    folder: object


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """To be read only."""
    folder = tmp_path_factory.mktemp("scores")
    recipe = tiny_scores(takes=3, test_share=0.3)
    recipe.sampling.num_inference_steps, recipe.stages[0].num_steps = 2, 2
    prepared = tasks.prepare(recipe, folder / "data")
    pipeline = assembly.make_pipeline(recipe, awake(assembly.make_parts(recipe, prepared)), prepared.class_names)
    pipeline.save(folder / "model")
    return Untrained(recipe, prepared, pipeline, folder / "model")
