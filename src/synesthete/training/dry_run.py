"""A stage of training on made-up data: the real loop, the real parts, and nothing to prepare."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from synesthete import seeding
from synesthete.data.samples import Samples, Steps
from synesthete.nn.part import keep_freed_memory
from synesthete.objectives import Parts
from synesthete.training.trainer import StageTrainer
from synesthete.types import Prepared

if TYPE_CHECKING:
    from synesthete.config import Recipe, Stage

NOWHERE = Path("dry-run")  # never written to: a dry run saves nothing


class DryRun:
    """Optimiser steps of a stage with fresh weights, grey pictures and noise for sound.

    Args:
        samples: grey pictures as the stage sees them, from `Task.dummy_batch`; at least as many as a micro-batch takes.
        trainer: of the stage, one that writes; None makes one that does not.
    """

    def __init__(self, recipe: Recipe, stage: Stage, samples: Samples, trainer: StageTrainer | None = None) -> None:
        keep_freed_memory()
        self.samples = samples
        if trainer is None:
            torch.manual_seed(seeding.derive(recipe.seed, "weights"))
            parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
            prepared = Prepared(samples, None, {}, ())
            trainer = StageTrainer(recipe, replace(stage), prepared, NOWHERE, NOWHERE, lambda: parts)
        self.trainer, self.stage = trainer, trainer.stage
        self.trainer.model.train()

    def step(self, batch_size: int, accumulation: int = 1) -> None:
        """One optimiser step: the batches made, the losses, their gradients, the update and the averages."""
        self.trainer.accumulation = accumulation
        steps = Steps(self.samples, batch_size * accumulation, 0, accumulation=accumulation)
        self.trainer.optimise(((item, steps[item]) for item in itertools.count()), steps)


def micro_batch(stage: Stage) -> int:
    """Samples that one process pushes through the network at once."""
    return stage.batch_size // stage.gradient_accumulation_steps
