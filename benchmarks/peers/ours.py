"""Our side: the recipe through the package's own training loop and pipeline."""

from __future__ import annotations

import json
import shutil
import statistics
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.peers.task import Budget, Trained, count
from synesthete import seeding, tasks
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training import loop
from synesthete.training.cost import Gauge

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.peers.task import Task
    from synesthete.config import Stage
    from synesthete.training.run_log import StepReport

MANY = 10**7


def train(task: Task, folder: Path, precision: str) -> Trained:
    """The recipe's only stage for as many steps as there is time for; no previews and checkpoints on the way."""
    recipe = find_recipe(task.recipe, task.assignments)
    (stage,) = recipe.stages
    stage.num_steps = stage.preview_every = stage.checkpoint_every = MANY
    shutil.rmtree(folder / "run", ignore_errors=True)  # of one that was killed: its time is not known
    prepared = tasks.prepare(recipe)
    gauge = Gauge()
    model = loop.train_recipe(recipe, prepared, folder / "run", report=Pace(stage, Budget(task.seconds)))
    working = gauge.read()
    written = (json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines())
    seconds = next(line["seconds"] for line in reversed(list(written)) if "seconds" in line)
    pipeline = Pipeline.load(str(model))
    settings = pipeline.sampling_settings(num_inference_steps=task.num_inference_steps)

    def sample(labels: Tensor, seed: int) -> Tensor:
        generators = seeding.sample_generators(seed, len(labels))
        return pipeline(labels, generators=generators, num_inference_steps=task.num_inference_steps).signal

    return Trained(
        parameters=count(pipeline.denoiser) + count(pipeline.conditioner),
        steps=stage.num_steps,
        samples=stage.num_steps * stage.batch_size,
        seconds=seconds,
        peak_bytes=gauge.before + working,
        working_bytes=working,
        samplers={settings["sampler"]: sample},
        conditional=pipeline.is_conditional,
        settings={"batch_size": stage.batch_size, "precision": stage.precision, "sampling": settings},
    )


class Pace:
    """Tells a stage how many steps there is time for, from what its last ones took; its learning rate follows."""

    def __init__(self, stage: Stage, budget: Budget) -> None:
        self.stage, self.budget, self.before = stage, budget, budget.spent
        self.recent: deque[float] = deque(maxlen=50)

    def __call__(self, report: StepReport) -> None:
        """After every step."""
        if report.loss is None or report.seconds_per_step is None or report.step >= self.stage.num_steps:
            return
        spent = self.budget.spent
        self.recent.append(spent - self.before)
        self.before = spent
        a_step = statistics.median(self.recent)
        left = (self.budget.seconds - spent) / a_step
        # Not the last one yet, while there is time for more than one.
        self.stage.num_steps = report.step + (1 if left < 1.5 else max(2, round(left)))
