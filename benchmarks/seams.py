"""Does long music have seams? How far level and spectrum jump where windows meet, beside elsewhere.

    python -m benchmarks.seams music-compose --with music-score --num 20 --seconds 60 --json
    python -m benchmarks.seams runs/music --num 20 --seconds 60
    python -m benchmarks.seams music-notes --label strings --num 4 --seconds 12

Sounds of seed 0. A jump is the largest difference, in dB, between neighbouring frames of a log-mel within 40 ms: of all
bands together (level), and the mean of the bands' own (spectrum). Beside the borders stand as many places in the middle
between them, and everything else. Most of all places are in the latter, so that its largest jump is the largest for
this alone; the middles are as many as the borders.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import torch

from synesthete.pipeline.canvas import Frames, find_overlap
from synesthete.tasks.model import load
from synesthete.tasks.music_score.stretches import about_borders, jumps, window_borders

if TYPE_CHECKING:
    from torch import Tensor

END = 0.25  # seconds at either end of a sound, which begins and ends as abruptly as it likes
SECONDS_A_BAR = 4 * 60 / 84  # of what is composed, at its own tempo


def main() -> None:
    """Make sounds, measure them; print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model of music, or one that composes")
    parser.add_argument("--with", dest="player", help="the model that plays what another one composes")
    parser.add_argument("--label", help="of a model that is told classes")
    parser.add_argument("--num", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="of sampling; the model's own by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    model = load(options.model)
    how: dict[str, Any] = {"num": options.num, "seed": options.seed}
    if options.player:
        how |= {"bars": math.ceil(options.seconds / SECONDS_A_BAR), "player": options.player}
        codec = load(options.player).pipeline.codec
    else:
        how |= {"seconds": options.seconds} | ({"label": options.label} if options.label else {})
        codec = model.pipeline.codec
    frames = Frames.of(codec)
    num_samples = round(options.seconds * frames.sample_rate)
    borders = window_borders(frames, find_overlap(frames), frames.covering(num_samples))
    if len(borders) < 2:
        parser.error(f"--seconds {options.seconds:g}: give at least two windows, {2 * frames.seconds(frames.whole):g}")
    made = model(**how, **({"steps": options.steps} if options.steps else {}))
    sounds = torch.stack([one.waveform[:num_samples] for one in made])
    values: dict[str, Any] = {"model": options.model, "player": options.player, "seconds": options.seconds}
    values |= {"sounds": len(sounds), "borders": len(borders), "jumps": compare(sounds, borders, frames.sample_rate)}
    if options.as_json:
        print(json.dumps(values))
        return
    for name, found in values["jumps"].items():
        print(name, *(f"{key} {value:.3g}" for key, value in found.items()), sep=", ")


def compare(sounds: Tensor, borders: list[float], sample_rate: int) -> dict[str, dict[str, float]]:
    """Of sounds (n, S): jumps at the borders (seconds), in the middle between them, and elsewhere, by measure.

    within: how many of the sounds jump nowhere at a border as far as somewhere else. Their own ends are left out.
    """
    cut = round(END * sample_rate)
    sounds, borders = sounds[:, cut:-cut], [second - END for second in borders]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(borders)]
    found = {}
    for name, jumped in jumps(sounds, sample_rate).items():
        at, elsewhere = about_borders(jumped, borders, sample_rate)
        between, _ = about_borders(jumped, middles, sample_rate)
        found[name] = {
            "mean_at_borders": float(at.mean()),
            "mean_in_the_middle": float(between.mean()),
            "mean_elsewhere": float(elsewhere.mean()),
            "largest_at_borders": float(at.max()),
            "largest_in_the_middle": float(between.max()),
            "largest_elsewhere": float(elsewhere.max()),
            "within": int((at.amax(dim=1) <= elsewhere.amax(dim=1)).sum()),
        }
    return found


if __name__ == "__main__":
    main()
