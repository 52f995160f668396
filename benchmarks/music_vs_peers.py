r"""Music from recordings: ours against audio-diffusion-pytorch, on the same clips in the same time, as many parameters.

    python -m benchmarks.music_vs_peers --json --minutes 15 --data RECORDINGS --peers FOLDER --out OUT
    python -m benchmarks.music_vs_peers --json --minutes 15 --processor --chorales FONT.sf3 --listener BASIC_PITCH \
        --set data.stride=2 --set data.num_views=1 --peers FOLDER --out OUT

Each side trains for the same time (`--processor`: of the processor, whatever else it is busy with) in a process of its
own, then plays as many clips in as many steps. Clips are compared with held-out pieces: by the Fréchet distance of a
classifier that neither was trained beside, by bands, rhythm and pitch, and by the notes that basic-pitch
(`--listener`) or the transcriber of `music-score` hears. Beside them stand as many other held-out pieces, and noise of
their mean spectrum. Sides: `ours`, the recipe (`--recipe music`); `adp`, DiffusionModel with UNetV0 as in its README,
on waveforms, in float32 as it runs on a CPU unless told otherwise; `adp-bf16` the same in bf16, where asked for by
--only. A side that has finished is kept in OUT and not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers.audio_diffusion import AudioDiffusion
from benchmarks.peers.hearing import classifier_of
from benchmarks.peers.ours import MANY, Pace
from benchmarks.peers.task import Budget, count
from synesthete import seeding, tasks
from synesthete.data.audio import as_float, write_audio
from synesthete.evaluation.audio_features.audio_descriptors import NAMES, apart, describe_sounds
from synesthete.evaluation.audio_features.notes import LOWEST, BasicPitch
from synesthete.evaluation.classifiers.transcriber import Transcriber
from synesthete.evaluation.metrics.distribution import frechet
from synesthete.io import write_folder
from synesthete.pipeline import Pipeline
from synesthete.pipeline.canvas import resample
from synesthete.recipes import find_recipe
from synesthete.tasks.music.references import noise_like
from synesthete.tasks.music_compose.measures import MAJOR, key_fits
from synesthete.tasks.task import model_folder
from synesthete.training import loop
from synesthete.training.cost import Gauge
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.config import Recipe

SIDES = {"ours": "auto", "adp": "no", "adp-bf16": "bf16"}
USUAL = ("ours", "adp")
FINISHED, SOUNDS = "finished.json", "sounds.safetensors"
BATCH = 8
NUM_WRITTEN = 4
SCORES = "music-score"  # whose pieces and whose transcriber are taken
SURE = 0.5  # of basic-pitch: at its own 0.3 a note sounds in almost every frame of noise
# Whether more of a row is better; of notes, the nearest to held-out pieces is.
ROWS = {"samples_per_second": True, "sound_per_second": True, "peak_bytes": False, "frechet": False}
ROWS |= dict.fromkeys(NAMES, False)
NOTES = ("frames with a note", "notes at once", "notes in the best scale", "correlation with the best key")


def main() -> None:
    """Run what has not been run, classifier all that has finished, print lines or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of recordings; tones made here where left out")
    parser.add_argument("--chorales", type=Path, help="in its place Bach's pieces, played on this SoundFont")
    parser.add_argument("--hours", type=float, default=1.0, help="of chorales")
    parser.add_argument("--listener", help="basic-pitch, as of `evaluate music-score`")
    parser.add_argument("--processor", action="store_true", help="minutes of a core, not by the clock")
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
        if options.chorales:
            options.data = render_chorales(options)
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


def render_chorales(options: argparse.Namespace) -> Path:
    """A folder with Bach's pieces as `music-score` hears them, a file each, made once."""
    folder, rate = options.out / "chorales", find_recipe(options.recipe).codec().spec.sample_rate
    if not folder.is_dir():
        recipe = find_recipe(SCORES, [f"data.sources.0.instruments.0.path={options.chorales}"])

        def fill(partial: Path) -> None:
            left = options.hours * 3600 * rate
            for number, piece in enumerate(itertools.chain(*recipe.data().performances().values())):
                if left > 0:
                    sound = torch.from_numpy(piece.sound(rate))
                    write_audio(partial / f"{number:03d}.wav", sound, rate)
                    left -= len(sound)

        write_folder(folder, fill)
    return folder


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


def budget_of(options: argparse.Namespace) -> Budget:
    """The time of a side, from now on."""
    return Budget(60 * options.minutes, clock_of(options))


def clock_of(options: argparse.Namespace) -> Callable[[], float]:
    """What seconds are counted by."""
    return time.process_time if options.processor else time.perf_counter


def run_ours(recipe: Recipe, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Tensor]:
    """The recipe's only stage for as many steps as there is time for, through the package's own loop and pipeline."""
    (stage,) = recipe.stages
    stage.num_steps = stage.preview_every = stage.checkpoint_every = MANY
    shutil.rmtree(folder / "run", ignore_errors=True)
    prepared, gauge = tasks.prepare(recipe), Gauge()
    budget = budget_of(options)
    model = loop.train_recipe(recipe, prepared, folder / "run", report=Pace(stage, budget))
    seconds, peak = budget.spent, gauge.before + gauge.read()
    pipeline = Pipeline.load(str(model))

    def sample(num: int, seed: int) -> Tensor:
        generators = seeding.sample_generators(seed, num)
        is_told = pipeline.conditioner.reads == "level"  # how loud, by chance
        raw = pipeline.conditioner.compose(num) if is_told else torch.zeros(num, dtype=torch.int64)
        return pipeline(raw, generators=generators, num_inference_steps=options.steps).signal

    sounds, taken = play(sample, options.num, clock_of(options))
    parameters = count(pipeline.denoiser)
    return told(
        parameters, stage.num_steps, stage.batch_size, seconds, peak, sounds, taken, pipeline.codec.spec.sample_rate
    ), sounds


def run_peer(recipe: Recipe, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Tensor]:
    """The peer on the waveforms that ours is trained on, in batches as large."""
    prepared, codec = tasks.prepare(recipe), recipe.codec()
    peer = AudioDiffusion(count(recipe.denoiser()), SIDES[options.side])
    batch_size = recipe.stages[0].batch_size
    peer.train(Waveforms(prepared.train), batch_size, budget_of(options))
    length = codec.config.num_samples
    sounds, taken = play(
        lambda num, seed: peer.sample(num, length, options.steps, seed), options.num, clock_of(options)
    )
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


def play(sample: Any, num: int, clock: Callable[[], float]) -> tuple[Tensor, float]:
    """Clips (num, S), and the seconds that they took after a first batch."""
    sample(min(BATCH, num), 0)
    started = clock()
    sounds = torch.cat([sample(min(BATCH, num - first), 1 + first) for first in range(0, num, BATCH)])
    return sounds.contiguous(), clock() - started


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
    prepared, rate = tasks.prepare(recipe), recipe.codec().spec.sample_rate
    classifier = classifier_of(prepared, rate)
    listener = BasicPitch(options.listener) if options.listener else shipped_transcriber()
    order = torch.randperm(len(prepared.test), generator=torch.Generator().manual_seed(0))
    real, other = (prepared.test.waveform(part) for part in order.chunk(2))
    features, described = classifier.features(real), describe_sounds(real, rate)

    def figures(sounds: Tensor) -> dict[str, float]:
        distance = {"frechet": frechet(features, classifier.features(sounds))}
        return distance | apart(describe_sounds(sounds, rate), described) | notes_heard(listener, sounds, rate)

    sides: dict[str, Any] = {}
    for side in SIDES:
        if (options.out / side / FINISHED).is_file():
            sides[side] = json.loads((options.out / side / FINISHED).read_text(encoding="utf-8"))
            sides[side] |= figures(load_file(options.out / side / SOUNDS)["sounds"].clamp(-1, 1))
    beside = {"other held-out pieces": figures(other), "noise": figures(as_float(noise_like(real, 0)))}
    wanted = notes_heard(listener, real, rate)
    values = {
        "recipe": recipe.name,
        "minutes": options.minutes,
        "of": "processor" if options.processor else "clock",
        "num": options.num,
        "num_inference_steps": options.steps,
        "listener": listener.name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "num_real": len(real),
    }
    return values | {"sides": sides, "real": wanted, "beside": beside, "behind": find_behind(sides, wanted)}


def find_behind(sides: dict[str, Any], wanted: dict[str, float]) -> list[dict[str, Any]]:
    """The rows in which a side is as good as ours or better."""
    behind = []
    for side, theirs in sides.items():
        for row in (*ROWS, *NOTES) if "ours" in sides and side != "ours" else ():
            pair = [sides["ours"][row], theirs[row]]
            ours, peer = pair if ROWS.get(row) else [-abs(value - wanted.get(row, 0.0)) for value in pair]
            if peer >= ours:
                behind.append({"row": row, "side": side, "ours": pair[0], "theirs": pair[1]})
    return behind


def shipped_transcriber() -> Transcriber:
    """That of the model that ships."""
    return Transcriber.from_pretrained(str(model_folder(SCORES) / "classifier"))


def notes_heard(listener: Any, sounds: Tensor, rate: int) -> dict[str, float]:
    """NOTES of sounds (n, S); the last two of those with a note."""
    own, threshold = rate, SURE
    if not isinstance(listener, BasicPitch):
        own, threshold = listener.config.sample_rate, listener.thresholds[0]
    keys = listener.hear(resample(sounds, rate, own), own).sounds >= threshold  # (n, keys, T)
    classes = np.zeros((len(keys), 12))
    for key, lasts in enumerate(keys.sum(dim=2).T.numpy()):
        classes[:, (LOWEST + key) % 12] += lasts
    classes = classes[classes.any(axis=1)]
    scales = np.stack([np.roll(MAJOR, tonic) for tonic in range(12)])  # (12, 12)
    in_scale = (classes @ scales.T).max(axis=1) / classes.sum(axis=1)
    at_once = keys.sum(dim=1).double()
    fits = [key_fits(each).max() for each in classes]
    found = float((at_once > 0).double().mean()), float(at_once.mean()), *map(mean_or_zero, (in_scale, fits))
    return dict(zip(NOTES, found, strict=True))


def mean_or_zero(values: Any) -> float:
    """The mean, 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


if __name__ == "__main__":
    main()
