"""Does long music have seams? How far level and spectrum jump where windows meet, beside elsewhere.

    python -m benchmarks.seams music-score --set data.sources.0.instruments.0.path=FONT.sf3 --json
    python -m benchmarks.seams music-compose --with music-score --num 20 --seconds 60
    python -m benchmarks.seams runs/music --num 20 --seconds 60
    python -m benchmarks.seams music-notes --label strings --num 4 --seconds 12

A model that plays scores plays held-out pieces of its data, one after another; beside it stand these as they are,
through the codec: notes begin where windows meet, too. A jump is the largest difference, in dB, between neighbouring
frames of a log-mel within 80 ms: of all bands together (level), and the mean of the bands' own (spectrum). The largest
of as many places elsewhere as there are borders is a mean over all draws of them. `butted` is what windows come to that
know nothing of each other: every other one is of the next sound, or of the real one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.pipeline.canvas import Frames, encode_whole, find_overlap
from synesthete.recipes import find_recipe
from synesthete.tasks.model import load
from synesthete.tasks.music_score.sampling import play_rolls
from synesthete.tasks.music_score.stretches import about_borders, butted, jumps, largest_of, window_borders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.pipeline import Pipeline

END = 0.25  # seconds at either end of a sound, which begins and ends as abruptly as it likes
SECONDS_A_BAR = 4 * 60 / 84  # of what is composed, at its own tempo


def main() -> None:
    """Make sounds, measure them; print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model of music, one that composes, or one that plays scores")
    parser.add_argument("--with", dest="player", help="the model that plays what another one composes")
    parser.add_argument("--label", help="of a model that is told classes")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--num", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="of sampling; the model's own by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    model = load(options.model)
    codec = load(options.player).pipeline.codec if options.player else model.pipeline.codec
    frames = Frames.of(codec)
    num_samples = round(options.seconds * frames.sample_rate)
    borders = window_borders(frames, find_overlap(frames), frames.covering(num_samples))
    if len(borders) < 2:
        parser.error(f"--seconds {options.seconds:g}: give at least two windows, {2 * frames.seconds(frames.whole):g}")
    how: dict[str, Any] = {"num_inference_steps": options.steps} if options.steps else {}
    if model.task.name == "music-score":
        real, told = held_out(find_recipe(options.model, options.assignments), options.num, num_samples)
        started = time.process_time()
        sounds = play(model.pipeline, told, num_samples, options.seed, how)
    else:
        real, started = None, time.process_time()
        how |= {"num": options.num, "seed": options.seed} | ({"label": options.label} if options.label else {})
        bars = math.ceil(options.seconds / SECONDS_A_BAR)
        how |= {"bars": bars, "player": options.player} if options.player else {"seconds": options.seconds}
        sounds = torch.stack([one.waveform[:num_samples] for one in model(**how)])
    spent = time.process_time() - started
    values: dict[str, Any] = {"model": options.model, "player": options.player, "seconds": options.seconds}
    values |= {"sounds": len(sounds), "borders": len(borders), "processor_seconds": spent}
    sets = {"made": sounds}
    if real is not None:
        sets["real"] = through_codec(codec, real, options.seed)
    sets["butted"] = butted(sounds, sets.get("real", sounds.roll(1, 0)), borders, frames.sample_rate)
    values["jumps"] = {name: compare(each, borders, frames.sample_rate) for name, each in sets.items()}
    if options.as_json:
        print(json.dumps(values))
        return
    for name, measures in values["jumps"].items():
        for measure, found in measures.items():
            print(name, measure, *(f"{key} {value:.3g}" for key, value in found.items()), sep=", ")


def held_out(recipe: Recipe, num: int, num_samples: int) -> tuple[Tensor, list[tuple[Tensor, str]]]:
    """Held-out performances after one another, (n, num_samples), with the roll of each and its only instrument.

    Each begins with another piece, so that there are no more than pieces are held out.
    """
    spec, pieces = recipe.codec().spec, recipe.data().performances()["test"]
    rate, hop, sounds, told = spec.sample_rate, spec.hop_length, [], []
    for first, one in enumerate(pieces[:num]):
        alike = [each for each in pieces[first:] + pieces[:first] if each.instrument == one.instrument]
        waveform, roll = torch.zeros(0), torch.zeros(2, 128, 0)
        for piece in itertools.cycle(alike):
            played = torch.from_numpy(piece.sound(rate))
            many = len(played) // hop
            waveform = torch.cat([waveform, played[: many * hop]])
            roll = torch.cat([roll, piece.score.frames(many, hop / rate, start=-piece.lead)], dim=-1)
            if len(waveform) > num_samples:
                break
        sounds.append(waveform[:num_samples])
        told.append((roll[..., : num_samples // hop + 1], one.instrument))
    return torch.stack(sounds), told


def play(
    pipeline: Pipeline, told: list[tuple[Tensor, str]], num_samples: int, seed: int, how: dict[str, Any]
) -> Tensor:
    """What a model makes of rolls on instruments, (n, num_samples)."""
    generators, found = seeding.sample_generators(seed, len(told)), []
    for (roll, name), generator in zip(told, generators, strict=True):
        windows = pipeline.conditioner.compose(roll[None], name)
        found += play_rolls(pipeline, windows, [num_samples], [generator], **how)
    return torch.stack([one.waveform for one in found])


@torch.no_grad()
def through_codec(codec: Any, sounds: Tensor, seed: int) -> Tensor:
    """Sounds (n, S) encoded and decoded."""
    generators = seeding.sample_generators(seed, len(sounds))
    coded = zip((encode_whole(codec, sound[None]) for sound in sounds), generators, strict=True)
    return torch.cat([codec.decode(x_0, [each], num_samples=sounds.shape[1]) for x_0, each in coded])


def compare(sounds: Tensor, borders: Sequence[float], sample_rate: int) -> dict[str, dict[str, float]]:
    """Of sounds (n, S): jumps at the borders (seconds), and elsewhere, by measure.

    within: how many of the sounds jump nowhere at a border as far as somewhere else. Their own ends are left out.
    """
    cut = round(END * sample_rate)
    sounds, borders = sounds[:, cut:-cut], [second - END for second in borders]
    found = {}
    for name, jumped in jumps(sounds, sample_rate).items():
        at, elsewhere = about_borders(jumped, borders, sample_rate)
        found[name] = {
            "mean_at_borders": float(at.mean()),
            "mean_elsewhere": float(elsewhere.mean()),
            "largest_at_borders": float(at.max()),
            "largest_of_as_many_elsewhere": largest_of(elsewhere, at.numel()),
            "largest_elsewhere": float(elsewhere.max()),
            "within": int((at.amax(dim=1) <= elsewhere.amax(dim=1)).sum()),
        }
    return found


if __name__ == "__main__":
    main()
