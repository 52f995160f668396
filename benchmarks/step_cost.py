"""What an optimiser step of each recipe takes, as `synesthete show --cost` predicts it and as it is.

    python -m benchmarks.step_cost --json
    python -m benchmarks.step_cost --recipe image-to-speech --stage denoise --set stages.denoise.batch_size=8

Every step is measured in a process of its own, on made-up data: a step after a first (the median of three short ones),
or the first where it takes more than twenty seconds; memory is the most that the process held resident, less what it
held before the parts were made. ratio is predicted over measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from synesthete.recipes import RECIPES, find_recipe
from synesthete.tasks import task_of
from synesthete.training.cost import DryRun, Gauge, clock, micro_batch, predict

# Seconds above which a step is its own warm-up.
LONG = 20.0


def main() -> None:
    """Predict and measure every stage of the recipes asked for; print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="may be given several times; all but debug twins by default")
    parser.add_argument("--stage", help="only stages of this name")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.recipe or [name for name in RECIPES if not name.endswith("-debug")]
    if options.measure:
        print(json.dumps(measure(names[0], options.stage, options.assignments)))
        return
    rows = []
    for name in names:
        for stage in find_recipe(name, options.assignments).stages:
            if options.stage in (None, stage.name):
                rows.append(compare(name, stage.name, options.assignments))
                print(line(rows[-1]), file=sys.stderr, flush=True)
    if options.as_json:
        print(json.dumps({"steps": rows}))


def compare(name: str, stage: str, assignments: list[str]) -> dict[str, Any]:
    """One stage, predicted and measured."""
    recipe = find_recipe(name, assignments)
    found = next(s for s in recipe.stages if s.name == stage)
    cost = predict(recipe, found, task_of(recipe).dummy_batch)
    changes = [word for assignment in assignments for word in ("--set", assignment)]
    command = [sys.executable, "-m", "benchmarks.step_cost", "--measure", "--recipe", name, "--stage", stage, *changes]
    measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    predicted = {"seconds": cost.seconds, "bytes": cost.memory.total}
    return {
        "recipe": name,
        "stage": stage,
        "batch_size": cost.batch_size,
        "micro_batch": cost.micro_batch,
        "predicted": predicted,
        "measured": measured,
        "ratio": {key: round(predicted[key] / measured[key], 3) for key in predicted if predicted[key]},
    }


def measure(name: str, stage: str, assignments: list[str]) -> dict[str, float]:
    """Seconds and bytes of an optimiser step, run in this process, which has done nothing else."""
    recipe = find_recipe(name, assignments)
    found = next(s for s in recipe.stages if s.name == stage)
    samples = task_of(recipe).dummy_batch(recipe, found, micro_batch(found))
    gauge = Gauge()
    dry_run = DryRun(recipe, found, samples)

    def step() -> None:
        dry_run.step(micro_batch(found), found.gradient_accumulation_steps)

    return {"seconds": clock(step, LONG), "bytes": gauge.read()}


def line(row: dict[str, Any]) -> str:
    """A comparison for people."""
    sides = (f"{row[side]['seconds']:8.3f} s {row[side]['bytes'] / 1e9:6.2f} GB" for side in ("predicted", "measured"))
    seconds, size = row["ratio"]["seconds"], row["ratio"]["bytes"]
    return (
        f"{row['recipe']:<30}{row['stage']:<10}{' predicted, '.join(sides)} measured; ratios {seconds:.2f} {size:.2f}"
    )


if __name__ == "__main__":
    main()
