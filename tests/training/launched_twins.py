"""Debug twins trained one after the other, by every process that a launcher starts."""

from __future__ import annotations

import sys
from pathlib import Path

from synesthete import tasks
from synesthete.recipes import find_recipe
from synesthete.training import loop
from tiny import shorten_looks


def twin(name: str, accumulation: int = 1):
    """A debug twin that takes three steps a stage of eight samples, in float32, and looks at itself at their end."""
    recipe = find_recipe(name, ["sampling.num_inference_steps=2", "weights=float32"])
    for stage in recipe.stages:
        stage.num_steps, stage.num_warmup_steps, stage.log_every = 3, 1, 1
        stage.checkpoint_every = stage.preview_every = 3
        stage.batch_size, stage.gradient_accumulation_steps, stage.precision = 8, accumulation, "no"
    return recipe


def train_twin(name: str, folder: Path, accumulation: int = 1) -> None:
    recipe = twin(name, accumulation)
    loop.train_recipe(recipe, tasks.prepare(recipe), folder / name)


if __name__ == "__main__":
    shorten_looks()
    for name in sys.argv[2:]:
        train_twin(name, Path(sys.argv[1]))
