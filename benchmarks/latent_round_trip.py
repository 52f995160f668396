"""Is latent diffusion worth it here? What latents of a trained model cost, and what they spare.

    python -m benchmarks.latent_round_trip --model runs/music-latent/model --data DATA --json

Held-out pieces of the model's own recipe go through its base codec alone and through the latents, to sound and back;
both results are compared with the original by the base codec's analysis. `grid` leaves the sound out: what the latents
alone lose, without what the phase that Griffin-Lim guesses adds. Floors are of another piece in place of the restored
one, a ceiling is the base codec. A step is one forward pass of the recipe's denoiser, and of that of `--rival` over the
base's own spectrogram, both with random weights, taking turns, the fastest of several; decoding the latents comes on
top, once a sample.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding, tasks
from synesthete.config import Recipe
from synesthete.nn.part import autocast
from synesthete.objectives.autoencoding import log_spectral_distance, measure_round_trip
from synesthete.pipeline import Pipeline
from synesthete.recipes.music import music_stft

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CPU = torch.device("cpu")
RIVAL = "music-stft"


def main() -> None:
    """Measure a model; print a few lines, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder of a recipe with a LatentCodec")
    parser.add_argument("--data", type=Path, help="where the recipe's data were prepared, as for train")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--rival", type=Path, help=f"model folder or recipe.yaml of a rival; {RIVAL} by default")
    parser.add_argument("--num", type=int, default=64, help="held-out pieces")
    parser.add_argument("--passes", type=int, default=5, help="timed forward passes a side, after a first one")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    if min(options.num, options.passes) < 2:
        parser.error("--num and --passes: give at least 2")
    recipe = read(options.model)
    for assignment in options.assignments:
        recipe.set(assignment)
    pipeline = Pipeline.load(str(options.model))
    prepared = tasks.prepare(recipe, options.data)
    rival = read(options.rival) if options.rival else music_stft()
    values = {
        "recipe": recipe.name,
        "rival": rival.name,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **measure_size(pipeline.codec),
        "round_trip": measure_sounds(pipeline.codec, prepared.test, options.num),
        "steps": measure_steps(pipeline.codec, {"latents": recipe, "base": rival}, options.passes),
    }
    for line in summary(values):
        print(line, file=sys.stderr)
    print(json.dumps(values) if options.as_json else f"compression {values['compression']:.1f}")


def read(place: Path) -> Recipe:
    """The recipe in a model folder, or in a file."""
    return Recipe.load(place / "recipe.yaml" if place.is_dir() else place)


def measure_size(codec: Any) -> dict[str, Any]:
    """How many numbers stand for a piece."""
    return {
        "num_samples": codec.config.num_samples,
        "base_shape": list(codec.base.shape),
        "shape": list(codec.shape),
        "compression": round(codec.compression, 3),
        "codec_parameters": sum(weight.numel() for weight in codec.parameters()),
    }


@torch.no_grad()
def measure_sounds(codec: Any, samples: Any, num: int) -> dict[str, Any]:
    """Held-out pieces, drawn from all, through the base alone and through the latents."""
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:num]
    real = samples.signals().plain().waveform(chosen)  # (n, S)
    generators = seeding.sample_generators
    ways = {
        "base": codec.base.decode(codec.base.encode(real), generators(0, len(real))),
        "latents": codec.decode(codec.encode(real), generators(0, len(real))),
        "another_piece": real.roll(1, dims=0),
    }
    grid = measure_round_trip(codec, real)
    return {
        "num": len(real),
        "grid": {"log_spectral_distance": round(grid.error, 3), "another_piece": round(grid.floor, 3)},
        **{name: compare(codec, real, made) for name, made in ways.items()},
    }


def compare(codec: Any, real: Tensor, made: Tensor) -> dict[str, float]:
    """Sounds (n, S) with others, in dB.

    log_spectral_distance; snr of the waveforms, which is about 0 or less where the phase was guessed; magnitude_snr of
    the spectrograms' magnitudes; level: of the whole, made over real.
    """
    ours, theirs = (codec.base.decibels(codec.signal_grid(sound)) for sound in (real, made))
    magnitudes = [10 ** (level / 20) for level in (ours, theirs)]
    return {
        "log_spectral_distance": round(log_spectral_distance(ours, theirs), 3),
        "magnitude_snr": round(snr(*magnitudes), 3),
        "snr": round(snr(real, made), 3),
        "level": round(decibels(made.square().mean() / real.square().mean()), 3),
    }


def snr(real: Tensor, made: Tensor) -> float:
    """Signal over error in dB, both summed over everything."""
    return decibels(real.square().sum() / (made - real).square().sum().clamp(min=1e-20))


def decibels(ratio: Tensor) -> float:
    """A ratio of powers in dB."""
    return 10 * math.log10(max(ratio.item(), 1e-20))


@torch.inference_mode()
def measure_steps(codec: Any, recipes: dict[str, Recipe], passes: int) -> dict[str, Any]:
    """Seconds of one forward pass of each recipe's denoiser, and of what the autoencoder adds once a sample."""
    sides: dict[str, Callable[[], object]] = {}
    found: dict[str, Any] = {}
    for name, recipe in recipes.items():
        network = awake(recipe.denoiser())
        condition = network.precompute(recipe.conditioner().eval().null(1))
        x_t = torch.randn(1, *recipe.codec().shape)

        def step(network: Any = network, x_t: Tensor = x_t, condition: Any = condition) -> object:
            return network(x_t, torch.full((1,), 500.0), condition)

        sides[name] = step
        found[name] = {
            "shape": list(x_t.shape[1:]),
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "precision": recipe.sampling.precision,
        }
    x_0, x = torch.randn(1, *codec.shape), torch.randn(1, *codec.base.shape)
    sides |= {"to_spectrogram": lambda: codec.grid(x_0), "to_latents": lambda: codec.latents(x)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(passes + 1):
        for name, run in sides.items():
            precision = found[name]["precision"] if name in found else "no"
            with autocast(CPU, precision):
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    best = {name: min(times[1:]) for name, times in seconds.items()}
    for name in found:
        found[name]["seconds"] = round(best[name], 5)
    return {
        **found,
        "speedup": round(best["base"] / best["latents"], 3),
        "decode_seconds": round(best["to_spectrogram"], 5),
        "encode_seconds": round(best["to_latents"], 5),
    }


def awake(network: Any) -> Any:
    """The network with random weights, also where they start at zero and would leave the blocks closed."""
    for parameter in network.eval().parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return network


def summary(values: dict[str, Any]) -> list[str]:
    """The figures for people."""
    found, steps = values["round_trip"], values["steps"]
    lines = [f"{values['base_shape']} as {values['shape']}: {values['compression']:.1f} times fewer numbers"]
    lines.append(f"latents alone, before any phase: {found['grid']['log_spectral_distance']:.2f} dB apart")
    for name in ("base", "latents", "another_piece"):
        one = found[name]
        lines.append(
            f"{name}: {one['log_spectral_distance']:.2f} dB apart, SNR {one['snr']:.1f} dB, of magnitudes "
            f"{one['magnitude_snr']:.1f} dB, level {one['level']:+.1f} dB"
        )
    lines += [f"a step over {name}: {steps[name]['seconds']:.4f} s" for name in ("base", "latents")]
    lines.append(f"{steps['speedup']:.1f} times faster a step, then {steps['decode_seconds']:.4f} s to decode a sample")
    return lines


if __name__ == "__main__":
    main()
