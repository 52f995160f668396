"""One sample from noise to sound by the 160M transformer: at the settings of its original, and at ours.

    python -m benchmarks.speech_sampling --json
    python -m benchmarks.speech_sampling --quick

The original (i2m) walks 50 DDIM steps of a linear epsilon process in float32, guided at every step by two forward
passes, each of which projects the picture and its keys and values anew. Ours is what `image-to-speech` samples by
unless told otherwise: few flow steps, the condition projected once, guidance in one batched forward pass and in its
interval only, bf16 where the processor multiplies it in hardware. Both run the same network of this package with random
weights, whose fused attention is faster than the original's, and decode by the same codec. Each has a process of its
own; its memory is the most that the process held resident, less what it held before the network was made.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from typing import Any

import torch

from synesthete import seeding
from synesthete.diffusion.sampling import make_scheduler, sample
from synesthete.objectives import Parts
from synesthete.recipes import find_recipe
from synesthete.training.assembly import make_pipeline
from synesthete.training.cost import Gauge

RECIPE = "image-to-speech"
SIDES = ("seed", "ours")
NUM_SEED_STEPS = 50
SEED_GUIDANCE = 3.0
SEED_PROCESS = (
    "process.schedule=linear",
    "process.prediction_type=epsilon",
    "process.timestep_sampling=uniform",
    "sampling.sampler=ddim",
    "sampling.timestep_shift=1",
)


def main() -> None:
    """Time both sides, one after the other; print a line each, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--num-steps", type=int, default=NUM_SEED_STEPS, help="of the 50: fewer are run and scaled up")
    parser.add_argument("--quick", action="store_true", help="the same as --num-steps 2")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    num_steps = 2 if options.quick else options.num_steps
    if not 1 <= num_steps <= NUM_SEED_STEPS:
        parser.error(f"--num-steps {num_steps}: give 1 to {NUM_SEED_STEPS}")
    if options.side:
        print(json.dumps(run_seed(options.recipe, num_steps) if options.side == "seed" else run_ours(options.recipe)))
        return
    values = compare(options.recipe, num_steps)
    for side in SIDES:
        print(f"{side}: {values[f'{side}_seconds']:.2f} s, {values[f'{side}_bytes'] / 1e9:.2f} GB", file=sys.stderr)
    print(json.dumps(values) if options.as_json else f"speedup {values['speedup']:.1f}")


def compare(recipe: str, num_steps: int) -> dict[str, Any]:
    """Seconds and peak memory of both sides, and how much faster ours is."""
    values: dict[str, Any] = {"recipe": recipe, "threads": torch.get_num_threads(), "torch": torch.__version__}
    for side in SIDES:
        own = ["--side", side, "--recipe", recipe, "--num-steps", str(num_steps)]
        command = [sys.executable, "-m", "benchmarks.speech_sampling", *own]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        values |= {f"{side}_{key}": value for key, value in json.loads(ran.stdout.splitlines()[-1]).items()}
    return values | {"speedup": values["seed_seconds"] / values["ours_seconds"]}


def run_seed(name: str, num_steps: int) -> dict[str, Any]:
    """The original's way: nothing kept from one step to the next. The first of its steps are run and scaled up."""
    gauge = Gauge()
    recipe = find_recipe(name, SEED_PROCESS)
    parts = make_awake(recipe)
    raw = grey(parts)

    def denoise(x_t: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        timestep = timestep.expand(len(x_t))
        with_ = parts.denoiser(x_t, timestep, parts.conditioner.encode(raw))
        without = parts.denoiser(x_t, timestep, parts.conditioner.null(len(raw)))
        return without + SEED_GUIDANCE * (with_ - without)

    with torch.no_grad():
        noise = seeding.randn(parts.codec.shape, seeding.sample_generators(0, 1))
        steps = sample(denoise, make_scheduler("ddim", parts.process), noise, num_inference_steps=NUM_SEED_STEPS)
        started = time.perf_counter()
        *_, x_t = itertools.islice(steps, num_steps)
        sampling = (time.perf_counter() - started) * NUM_SEED_STEPS / num_steps
        started = time.perf_counter()
        parts.codec.decode(x_t)
        decoding = time.perf_counter() - started
    settings = {"sampler": "ddim", "num_inference_steps": NUM_SEED_STEPS, "num_steps_run": num_steps}
    settings |= {"guidance_scale": SEED_GUIDANCE, "guidance_interval": (0.0, 1.0), "precision": "no"}
    return measured(sampling + decoding, decoding, gauge, settings)


def run_ours(name: str) -> dict[str, Any]:
    """The recipe's own way."""
    gauge = Gauge()
    recipe = find_recipe(name)
    parts = make_awake(recipe)
    pipeline, raw = make_pipeline(recipe, parts, ()), grey(parts)
    started = time.perf_counter()
    *_, x_0 = pipeline.trajectory(raw)
    sampled = time.perf_counter()
    parts.codec.decode(x_0)
    ended = time.perf_counter()
    return measured(ended - started, ended - sampled, gauge, pipeline.sampling_settings())


def measured(seconds: float, decoding: float, gauge: Gauge, settings: dict[str, Any]) -> dict[str, Any]:
    """What one side reports."""
    return {"seconds": seconds, "decoding_seconds": decoding, "bytes": gauge.read(), "settings": settings}


def make_awake(recipe: Any) -> Parts:
    """The recipe's parts with random weights, also where they start at zero and would leave the blocks closed."""
    torch.manual_seed(0)
    parts = Parts(recipe.codec().eval(), recipe.conditioner().eval(), recipe.denoiser().eval(), recipe.process())
    for parameter in parts.denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return parts


def grey(parts: Parts) -> torch.Tensor:
    """A picture as the conditioner reads it."""
    size, channels = parts.conditioner.config.size, parts.conditioner.config.channels
    return torch.full((1, channels, size, size), 128, dtype=torch.uint8)


if __name__ == "__main__":
    main()
