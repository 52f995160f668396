"""A stage of training on made-up data: the real loop, the real parts, and nothing to prepare."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.samples import Steps
from synesthete.nn.device import keep_freed_memory
from synesthete.objectives import Parts
from synesthete.training.trainer import StageTrainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synesthete.config import Recipe, Stage
    from synesthete.data.samples import Samples
    from synesthete.types import Batch

# Never written to: a dry run saves nothing.
NOWHERE = Path("dry-run")


class DryRun:
    """Optimiser steps of a stage with fresh weights, grey pictures and noise for sound.

    Args:
        samples: grey pictures as the stage sees them, from `Task.dummy_batch`; at least as many as a micro-batch takes.
    """

    def __init__(self, recipe: Recipe, stage: Stage, samples: Samples) -> None:
        keep_freed_memory()
        self.stage, self.samples = replace(stage), samples
        torch.manual_seed(seeding.derive(recipe.seed, "weights"))
        self.parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
        prepared: Any = SimpleNamespace(train=samples)
        self.trainer = StageTrainer(recipe, self.stage, self.parts, prepared, NOWHERE, NOWHERE, lambda _: None)
        self.trainer.model.train()

    def step(self, batch_size: int, accumulation: int = 1) -> None:
        """One optimiser step: the batches made, the losses, their gradients, the update and the averages."""
        self.stage.gradient_accumulation_steps = accumulation
        steps = Steps(self.samples, batch_size * accumulation, 0, accumulation=accumulation)
        self.trainer.optimise(enumerate(self._batches(steps)), steps)

    def _batches(self, steps: Steps) -> Iterator[Batch]:
        for item in itertools.count():
            yield steps[item]


def micro_batch(stage: Stage) -> int:
    """Samples that one process pushes through the network at once."""
    return stage.batch_size // stage.gradient_accumulation_steps
