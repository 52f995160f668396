"""Music from recordings: ours against audio-diffusion-pytorch, on the same clips in the same time, as many parameters.

    python -m benchmarks.music_vs_peers --json --minutes 15 --data RECORDINGS --peers FOLDER --out OUT

Each side trains for the same wall-clock time in a process of its own, then plays as many clips in as many steps. A
classifier that neither was trained beside gives the features on which the Fréchet distance to held-out pieces is
measured. Sides: `ours`, the recipe (`--recipe music`); `adp`, DiffusionModel with UNetV0 as in its README, on
waveforms, in float32 as it runs on a CPU unless told otherwise; `adp-bf16` the same in bf16, where asked for by --only.
A side that has finished is kept in OUT and not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers.audio_diffusion import AudioDiffusion
from benchmarks.peers.hearing import classifier_of
from benchmarks.peers.ours import MANY, Pace
from benchmarks.peers.task import Budget, count
from synesthete import seeding, tasks
from synesthete.data.audio import write_audio
from synesthete.evaluation.metrics.distribution import frechet
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training import loop
from synesthete.training.cost import Gauge
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.config import Recipe

SIDES = {"ours": "auto", "adp": "no", "adp-bf16": "bf16"}
USUAL = ("ours", "adp")
FINISHED, SOUNDS = "finished.json", "sounds.safetensors"
BATCH = 8
NUM_WRITTEN = 4
# Whether more of a row is better.
ROWS = {"frechet": False, "samples_per_second": True, "sound_per_second": True, "peak_bytes": False}


def main() -> None:
    """Run what has not been run, classifier all that has finished, print lines or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of recordings; tones made here where left out")
    parser.add_argument("--out", type=Path, default=Path("runs") / "music_vs_peers")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, for each side")
    parser.add_argument("--num", type=int, default=64, help="clips to play")
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--only", action="append", choices=SIDES, help="run this side; may be given several times")
    parser.add_argument("--peers", type=Path, help="a folder with the peer's packages (pip install --target)")
    parser.add_argument("--recipe", default="music", help="ours")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0 or options.num < 2:
        parser.error("--minutes: give more than 0; --num: at least 2")
    if os.environ.get("OMP_PROC_BIND"):
        parser.error("OMP_PROC_BIND is set, and every side would inherit the one core of this process; unset it")
    try:
        if options.side:
            run_side(options)
            return
        for side in options.only or USUAL:
            if not (options.out / side / FINISHED).is_file():
                start_side(side, options)
        values = evaluate_sides(options)
    except InputError as error:
        raise SystemExit(f"music_vs_peers: {error}") from None
    for name, side in values["sides"].items():
        print(name, {row: side[row] for row in (*ROWS, "parameters", "steps")}, file=sys.stderr)
    print(json.dumps(values) if options.as_json else f"behind: {values['behind'] or 'in no row'}")


def the_recipe(options: argparse.Namespace) -> Recipe:
    """Ours, on the data that were given."""
    data = [f"data.folder={options.data}"] if options.data else []
    return find_recipe(options.recipe, [*data, *options.assignments])


def start_side(side: str, options: argparse.Namespace) -> None:
    """A side in a process of its own.

    Raises:
        InputError: it failed; what it said has been printed.
    """
    print(f"{side}: training for {options.minutes:g} minutes, then {options.num} clips", file=sys.stderr, flush=True)
    environment = dict(os.environ)
    if options.peers:
        paths = (str(options.peers.resolve()), os.environ.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "benchmarks.music_vs_peers", *sys.argv[1:], "--side", side]
    if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode:
        raise InputError(f"{side} did not finish; the others are kept in {options.out}")


def run_side(options: argparse.Namespace) -> None:
    """Train and sample one side; write its sounds and its figures."""
    folder = options.out / options.side
    folder.mkdir(parents=True, exist_ok=True)
    recipe = the_recipe(options)
    run = run_ours if options.side == "ours" else run_peer
    figures, sounds = run(recipe, options, folder)
    spec = recipe.codec().spec
    for number, sound in enumerate(sounds[:NUM_WRITTEN]):
        write_audio(folder / f"{number:03d}.wav", sound.clamp(-1, 1), spec.sample_rate)
    save_file({"sounds": sounds}, folder / SOUNDS)
    (folder / FINISHED).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def run_ours(recipe: Recipe, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Tensor]:
    """The recipe's only stage for as many steps as there is time for, through the package's own loop and pipeline."""
    (stage,) = recipe.stages
    stage.num_steps = stage.preview_every = stage.checkpoint_every = MANY
    shutil.rmtree(folder / "run", ignore_errors=True)
    prepared, gauge = tasks.prepare(recipe), Gauge()
    budget = Budget(60 * options.minutes)
    model = loop.train_recipe(recipe, prepared, folder / "run", report=Pace(stage, budget))
    seconds, peak = budget.spent, gauge.before + gauge.read()
    pipeline = Pipeline.load(str(model))

    def sample(num: int, seed: int) -> Tensor:
        generators = seeding.sample_generators(seed, num)
        is_told = pipeline.conditioner.reads == "level"  # how loud, by chance
        raw = pipeline.conditioner.compose(num) if is_told else torch.zeros(num, dtype=torch.int64)
        return pipeline(raw, generators=generators, num_inference_steps=options.steps).signal

    sounds, taken = play(sample, options.num)
    parameters = count(pipeline.denoiser)
    return told(
        parameters, stage.num_steps, stage.batch_size, seconds, peak, sounds, taken, pipeline.codec.spec.sample_rate
    ), sounds


def run_peer(recipe: Recipe, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Tensor]:
    """The peer on the waveforms that ours is trained on, in batches as large."""
    prepared, codec = tasks.prepare(recipe), recipe.codec()
    peer = AudioDiffusion(count(recipe.denoiser()), SIDES[options.side])
    batch_size = recipe.stages[0].batch_size
    peer.train(Waveforms(prepared.train), batch_size, 60 * options.minutes)
    length = codec.config.num_samples
    sounds, taken = play(lambda num, seed: peer.sample(num, length, options.steps, seed), options.num)
    return told(
        peer.parameters, peer.steps, batch_size, peer.seconds, peer.peak_bytes, sounds, taken, codec.spec.sample_rate
    ), sounds


class Waveforms:
    """The training pieces, by number."""

    def __init__(self, samples: Any) -> None:
        self.samples, self.num = samples, len(samples)

    def __call__(self, indices: Tensor) -> Tensor:
        """(B,) -> (B, S) in [-1, 1]."""
        return self.samples.waveform(indices)


def play(sample: Any, num: int) -> tuple[Tensor, float]:
    """Clips (num, S), and the seconds that they took after a first batch."""
    sample(min(BATCH, num), 0)
    started = time.perf_counter()
    sounds = torch.cat([sample(min(BATCH, num - first), 1 + first) for first in range(0, num, BATCH)])
    return sounds.contiguous(), time.perf_counter() - started


def told(
    parameters: int,
    steps: int,
    batch_size: int,
    seconds: float,
    peak: int,
    sounds: Tensor,
    taken: float,
    rate: int,
) -> dict[str, Any]:
    """What a side reports."""
    return {
        "parameters": parameters,
        "steps": steps,
        "batch_size": batch_size,
        "seconds": seconds,
        "samples_per_second": steps * batch_size / seconds,
        "sound_per_second": sounds.numel() / rate / taken,
        "peak_bytes": peak,
    }


def evaluate_sides(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every side that has finished, and the rows in which ours is not ahead."""
    recipe = the_recipe(options)
    prepared, spec = tasks.prepare(recipe), recipe.codec().spec
    classifier = classifier_of(prepared, spec.sample_rate)
    order = torch.randperm(len(prepared.test), generator=torch.Generator().manual_seed(0))
    real, other = (classifier.features(prepared.test.waveform(part)) for part in order.chunk(2))
    sides: dict[str, Any] = {}
    for side in SIDES:
        if (options.out / side / FINISHED).is_file():
            sides[side] = json.loads((options.out / side / FINISHED).read_text(encoding="utf-8"))
            sides[side]["frechet"] = frechet(
                real, classifier.features(load_file(options.out / side / SOUNDS)["sounds"])
            )
    ours = sides.get("ours")
    behind = [
        {"row": row, "side": side, "ours": ours[row], "theirs": figures[row]}
        for side, figures in sides.items()
        for row, more in ROWS.items()
        if ours and side != "ours" and ((figures[row] >= ours[row]) if more else (figures[row] <= ours[row]))
    ]
    values = {
        "recipe": recipe.name,
        "minutes": options.minutes,
        "num": options.num,
        "num_inference_steps": options.steps,
    }
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    real_values = {"frechet_real": frechet(real, other), "num_real": len(real)}
    return values | machine | real_values | {"sides": sides, "behind": behind}


if __name__ == "__main__":
    main()
