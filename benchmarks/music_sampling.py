"""One sample of four seconds, from noise to sound: the music experiment's way, and `music-stft`.

    python -m benchmarks.music_sampling --json
    python -m benchmarks.music_sampling --json --model runs/music-stft --data RECORDINGS --num 32

The experiment (MA_DDPM) walks all 1000 steps of its process in float32 through a U-Net of 17.3 million parameters over
224 x 416 cells; its layout is rebuilt in `peers.seed_music_unet`, and ten of the steps are timed and scaled up. Ours is
what `music-stft` samples by unless told otherwise. Both end in 32 iterations of Griffin-Lim. Each has a process of its
own, and the first forward pass, which chooses kernels, is not timed.

With --model, the Fréchet distance to held-out pieces is measured beside it: of as many samples by the model's default
and by 1000 steps of the same network from the same noise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.peers.seed_music_unet import SeedMusicUNet
from synesthete import hub, seeding, tasks
from synesthete.objectives import Parts
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training.assembly import make_pipeline
from synesthete.training.cost import Gauge

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPE = "music-stft"
SIDES = ("seed", "ours")
SEED_STEPS = 1000
BATCH = 8


def main() -> None:
    """Time both sides, one after the other, and measure the distances where there is a model; print lines or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-steps", type=int, default=10, help="of the experiment's 1000: fewer are run and scaled")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the median is told")
    parser.add_argument("--model", help="a trained music-stft, for the distances")
    parser.add_argument("--data", type=Path, help="its recordings; those of its recipe by default")
    parser.add_argument("--num", type=int, default=32, help="samples for the distances")
    parser.add_argument("--steps", type=int, default=SEED_STEPS, help="of the slow way in the distances")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.num_steps <= SEED_STEPS or options.repeats < 1:
        parser.error(f"--num-steps: give 1 to {SEED_STEPS}; --repeats: at least 1")
    if options.side:
        print(json.dumps(run_seed(options.num_steps) if options.side == "seed" else run_ours(options.repeats)))
        return
    values: dict[str, Any] = {"recipe": RECIPE, "threads": torch.get_num_threads(), "torch": torch.__version__}
    for side in SIDES:
        own = ["--side", side, "--num-steps", str(options.num_steps), "--repeats", str(options.repeats)]
        command = [sys.executable, "-m", "benchmarks.music_sampling", *own]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        values |= {f"{side}_{key}": value for key, value in json.loads(ran.stdout.splitlines()[-1]).items()}
        print(f"{side}: {values[f'{side}_seconds']:.2f} s, {values[f'{side}_parameters']:,}", file=sys.stderr)
    values["speedup"] = values["seed_seconds"] / values["ours_seconds"]
    if options.model:
        values |= measure_distances(options.model, options.data, options.num, options.steps)
    print(json.dumps(values) if options.as_json else f"speedup {values['speedup']:.1f}")


def run_seed(num_steps: int) -> dict[str, Any]:
    """The experiment's network through the first of its steps, scaled up, and its spectrogram made sound."""
    gauge = Gauge()
    torch.manual_seed(0)
    network, recipe = SeedMusicUNet().eval(), find_recipe(RECIPE)
    codec = recipe.codec()
    betas = torch.linspace(1e-4, 0.02, SEED_STEPS)
    kept = (1 - betas).cumprod(0)
    x_t = torch.randn(1, *codec.shape)
    with torch.no_grad():
        network(x_t, torch.tensor([SEED_STEPS - 1]))
        started = time.perf_counter()
        for step in range(SEED_STEPS - 1, SEED_STEPS - 1 - num_steps, -1):
            noise = network(x_t, torch.tensor([step]))
            mean = (x_t - betas[step] / (1 - kept[step]).sqrt() * noise) / (1 - betas[step]).sqrt()
            x_t = mean + betas[step].sqrt() * torch.randn_like(x_t)
        sampling = (time.perf_counter() - started) * SEED_STEPS / num_steps
        decoding = timed(lambda: codec.decode(x_t.clamp(-3, 3)))
    return measured(network, sampling, decoding, gauge) | {"num_steps_run": num_steps}


def run_ours(repeats: int) -> dict[str, Any]:
    """The recipe's own way, with random weights: what they are does not change the time."""
    gauge, recipe = Gauge(), find_recipe(RECIPE)
    torch.manual_seed(0)
    parts = Parts(recipe.codec().eval(), recipe.conditioner().eval(), recipe.denoiser().eval(), recipe.process())
    pipeline, raw = make_pipeline(recipe, parts, ()), torch.zeros(1, dtype=torch.int64)
    pipeline(raw, num_inference_steps=1)
    found = []
    for seed in range(repeats):
        started = time.perf_counter()
        *_, x_0 = pipeline.trajectory(raw, generators=seeding.sample_generators(seed, 1))
        found.append((time.perf_counter() - started, timed(lambda x_0=x_0: parts.codec.decode(x_0))))
    sampling, decoding = sorted(found)[len(found) // 2]
    return measured(parts.denoiser, sampling, decoding, gauge) | {"settings": pipeline.sampling_settings()}


def measured(network: torch.nn.Module, sampling: float, decoding: float, gauge: Gauge) -> dict[str, Any]:
    """What one side reports."""
    parameters = sum(p.numel() for p in network.parameters())
    seconds = {"seconds": sampling + decoding, "decoding_seconds": decoding}
    return {"parameters": parameters, **seconds, "bytes": gauge.read()}


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure_distances(model: str, data: Path | None, num: int, slow_steps: int) -> dict[str, Any]:
    """Fréchet distances of the fast default and of the slow way to held-out pieces, and real against real."""
    from benchmarks.peers.hearing import classifier_of
    from synesthete.evaluation.metrics.distribution import frechet

    pipeline, folder = Pipeline.load(model), hub.find_model(model)
    recipe = find_recipe(str(folder), [f"data.folder={data}"] if data else [])
    prepared = tasks.prepare(recipe)
    classifier = classifier_of(prepared, pipeline.codec.spec.sample_rate)
    order = torch.randperm(len(prepared.test), generator=torch.Generator().manual_seed(0))
    real = classifier.features(prepared.test.waveform(order[:num]))
    other = classifier.features(prepared.test.waveform(order[num : 2 * num]))
    values: dict[str, Any] = {"num": num, "num_real": len(real), "frechet_real": frechet(real, other)}
    for name, steps in (("fast", pipeline.sampling_settings()["num_inference_steps"]), ("slow", slow_steps)):
        sounds = []
        for first in range(0, num, BATCH):
            generators = seeding.sample_generators(0, num)[first : first + BATCH]
            raw = torch.zeros(len(generators), dtype=torch.int64)
            sounds.append(pipeline(raw, generators=generators, num_inference_steps=steps).signal)
            print(f"{name}: {first + len(generators)} of {num}", file=sys.stderr, flush=True)
        values |= {f"frechet_{name}": frechet(real, classifier.features(torch.cat(sounds))), f"steps_{name}": steps}
    return values | {"frechet_ratio": values["frechet_fast"] / values["frechet_slow"]}


if __name__ == "__main__":
    main()
