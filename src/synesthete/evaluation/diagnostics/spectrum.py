"""Power by spatial frequency, of samples and of real pictures: at which scale samples are too smooth or too noisy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from synesthete import seeding
from synesthete.evaluation.diagnostics.curves import Panel, curves_figure
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

NUM_REAL, NUM_SPLITS = 500, 50
LEAST_DECIBELS = 0.5  # a difference under this is not seen
LEAST_FLOORS = 2.0  # nor is one that is not clearly above the floor


class Spectrum(NamedTuple):
    """Power (n, rings) of each picture at frequencies (rings,) in cycles per pixel, up to 0.5."""

    frequencies: Tensor
    power: Tensor


def measure_spectrum(pictures: Tensor) -> Spectrum:
    """The radially averaged power spectrum of pictures (n, C, H, W), uint8 or float in [0, 1]; channels are averaged.

    Each channel less its mean, under a Hann window, whose own power is divided out: without it the picture's borders,
    which do not meet, fill all frequencies along both axes. White noise of variance s^2 is s^2 at every frequency. A
    ring is 1 / min(H, W) wide; beyond half a cycle per pixel, in the corners, there is none.
    """
    values = pictures.float() / (255 if pictures.dtype == torch.uint8 else 1)
    height, width = values.shape[-2:]
    hann = [torch.hann_window(side, periodic=True) for side in (height, width)]
    window = hann[0][:, None] * hann[1]
    mean = (values * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
    transform = torch.fft.fft2((values - mean) * window)
    power = transform.abs().square().mean(dim=1).flatten(1).double() / window.square().sum()  # (n, H * W)
    frequency = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()).sqrt().flatten()
    ring = (frequency * min(height, width)).round().long()
    num = min(height, width) // 2
    inside = (ring >= 1) & (ring <= num)
    total = torch.zeros(len(power), num + 1, dtype=torch.float64).index_add_(1, ring[inside], power[:, inside])
    return Spectrum(torch.arange(1, num + 1) / min(height, width), total[:, 1:] / ring[inside].bincount()[1:])


def spectrum(model: ModelUnderTest) -> Section:
    """Figure by frequency, table by octave and a sentence on samples against real held-out pictures.

    Raises:
        InputError: a model that makes no pictures.
    """
    model.check_pictures("spectrum")
    made, real = map(measure_spectrum, (model.samples().signal, model.real_pictures(4 * NUM_REAL)[:NUM_REAL]))
    frequencies, num = made.frequencies, len(made.power)
    generator = seeding.generator(model.seed, "spectrum")
    octaves = octave_rings(frequencies)
    floor = floor_in_decibels(real.power, num, octaves, generator)
    apart = {name: difference_in_decibels(made.power, real.power, rings) for name, rings in octaves.items()}
    each = {f"{frequency:g}": torch.tensor([i]) for i, frequency in enumerate(frequencies.tolist())}
    margin = torch.tensor(list(floor_in_decibels(real.power, num, each, generator).values()))
    means = {f"samples (n = {num})": made.power.mean(dim=0), f"real (n = {len(real.power)})": real.power.mean(dim=0)}
    levels = {name: decibels(mean) for name, mean in means.items()}
    ours, theirs = levels.values()
    ticks = {1 / size: f"1/{size}" for size in (64, 32, 16, 8, 4, 2) if 1 / size >= frequencies[0]}
    panels = [
        Panel(title, "cycles per pixel", "dB", frequencies.tolist(), curves, floors, log_x=True, ticks=ticks)
        for title, curves, floors in (
            ("power", levels, {}),
            ("samples minus real", {"samples": ours - theirs}, {"real against real": margin, "_below": -margin}),
        )
    ]
    medium = Medium("spectrum", to_png(curves_figure(panels)), "power by spatial frequency, samples and real pictures")
    rows = [
        (name, *(decibels(mean[rings].mean()).item() for mean in means.values()), apart[name], floor[name])
        for name, rings in octaves.items()
    ]
    columns = ("details of", "samples (dB)", "real (dB)", "difference (dB)", "real against real (dB)")
    text = f"{_TEXT} {say_where_apart(apart, floor)}"
    return Section("Power spectrum", text, [medium, Table(columns, rows, "by octave")])


def octave_rings(frequencies: Tensor) -> dict[str, Tensor]:
    """Which rings belong to each octave below half a cycle per pixel, finest first, by the size of its details."""
    octaves, high = {}, 0.5
    while high > frequencies[0]:
        below = (frequencies < high) | (high == 0.5)
        rings = (below & (frequencies >= high / 2)).nonzero().flatten()
        if len(rings):
            octaves[f"{1 / high:g} to {2 / high:g} pixels"] = rings
        high /= 2
    return octaves


def decibels(power: Tensor) -> Tensor:
    """10 log10 of a power; an empty picture's is held at -120 dB."""
    return 10 * power.clamp(min=1e-12).log10()


def difference_in_decibels(made: Tensor, real: Tensor, rings: Tensor) -> float:
    """How far the mean power (n, all) of one set in some rings is above that of the other."""
    return (decibels(made.mean(dim=0)[rings].mean()) - decibels(real.mean(dim=0)[rings].mean())).item()


def floor_in_decibels(
    real: Tensor, num: int, octaves: dict[str, Tensor], generator: torch.Generator
) -> dict[str, float]:
    """Root mean square difference of two disjoint random sets of real pictures, of `num` each, or of half of all."""
    size = min(num, len(real) // 2)
    if size < 1:
        return dict.fromkeys(octaves, math.nan)
    squares = dict.fromkeys(octaves, 0.0)
    for _ in range(NUM_SPLITS):
        order = torch.randperm(len(real), generator=generator)
        one, other = real[order[:size]], real[order[size : 2 * size]]
        for name, rings in octaves.items():
            squares[name] += difference_in_decibels(one, other, rings) ** 2 / NUM_SPLITS
    return {name: math.sqrt(square) for name, square in squares.items()}


def say_where_apart(apart: dict[str, float], floor: dict[str, float]) -> str:
    """At which scales samples are too smooth or too noisy."""
    said: dict[str, list[str]] = {"smooth": [], "noisy": []}
    for name, difference in apart.items():
        if abs(difference) > max(LEAST_DECIBELS, LEAST_FLOORS * floor[name]):
            said["smooth" if difference < 0 else "noisy"].append(f"{name} ({difference:+.1f} dB)")
    parts = [f"too {word} in details of {', '.join(places)}" for word, places in said.items() if places]
    if not parts:
        return "Samples vary as much as real pictures do at every scale."
    return f"Samples are {' and '.join(parts)}."


_TEXT = (
    "How much the pictures vary at each scale: coarse forms on the left, single pixels on the right; in dB, of values "
    "from 0 to 1. Samples below real pictures are too smooth there, above too noisy. The floor is how far two sets of "
    "real held-out pictures are apart, each of as many as there are samples."
)
