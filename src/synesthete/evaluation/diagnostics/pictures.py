"""Samples beside real pictures: their power by spatial frequency, and the training pictures nearest to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.memorization import NearestTrainingDistance, nearest_training_distance
from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.metrics.set_comparison import features_of
from synesthete.evaluation.reporting.figures import Panel, curves_figure, histogram_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Section, Table

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

NUM_REAL, NUM_SPLITS = 500, 50
LEAST_DECIBELS = 0.5  # a difference under this is not seen
LEAST_FLOORS = 2.0  # nor is one that is not clearly above the floor
NUM_SHOWN, NUM_NEAREST = 8, 3
NUM_HELD_OUT = 300
QUANTILE = 0.05
# A copy, after Yoon et al. 2023: its nearest training picture is at under a third of the distance of the next one.
COPY = 1 / 3
CHUNK = 512


class Spectrum(NamedTuple):
    """Power (n, rings) of each picture at frequencies (rings,) in cycles per pixel, up to 0.5."""

    frequencies: Tensor
    power: Tensor


def measure_spectrum(pictures: Tensor) -> Spectrum:
    """The radially averaged power spectrum of pictures (n, C, H, W), uint8 or float in [0, 1]; channels are averaged.

    Each channel less its mean, under a Hann window, since the picture's borders do not meet. White noise of variance
    s^2 is s^2 at every frequency. A ring is 1 / min(H, W) wide; beyond half a cycle per pixel there is none.
    """
    values = pictures.float() / (255 if pictures.dtype == torch.uint8 else 1)
    height, width = values.shape[-2:]
    window = torch.outer(torch.hann_window(height), torch.hann_window(width))
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
    """Figure by frequency, table by octave and a sentence on samples against real held-out pictures."""
    model.check("spectrum", "pictures")
    made, real = map(measure_spectrum, (model.samples().signal, model.real_pictures(4 * NUM_REAL)[:NUM_REAL]))
    frequencies, num = made.frequencies, len(made.power)
    generator = seeding.generator(model.seed, "spectrum")
    octaves = octave_rings(frequencies)
    floor = floor_in_decibels(real.power, num, octaves, generator)
    apart = {name: difference_in_decibels(made.power, real.power, rings) for name, rings in octaves.items()}
    each = {f"{frequency:g}": torch.tensor([i]) for i, frequency in enumerate(frequencies.tolist())}
    margin = torch.tensor(list(floor_in_decibels(real.power, num, each, generator).values()))
    means = {f"samples (n = {num})": made.power.mean(dim=0), f"real (n = {len(real.power)})": real.power.mean(dim=0)}
    levels = {name: in_decibels(mean) for name, mean in means.items()}
    ours, theirs = levels.values()
    floors = {"real against real": margin, "_below": -margin}
    sides: dict[str, Any] = {"log_x": True}
    sides["ticks"] = {1 / size: f"1/{size}" for size in (64, 32, 16, 8, 4, 2) if 1 / size >= frequencies[0]}
    labels = "cycles per pixel", "dB", frequencies.tolist()
    apart_by = Panel("samples minus real", *labels, {"samples": ours - theirs}, floors, **sides)
    panels = [Panel("power", *labels, levels, **sides), apart_by]
    medium = Medium("spectrum", to_png(curves_figure(panels)), "power by spatial frequency, samples and real pictures")
    rows = [
        (name, *(in_decibels(mean[rings].mean()).item() for mean in means.values()), apart[name], floor[name])
        for name, rings in octaves.items()
    ]
    columns = ("details of", "samples (dB)", "real (dB)", "difference (dB)", "real against real (dB)")
    text = f"{SECTIONS['pictures.spectrum']} {say_where_apart(apart, floor)}"
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


def in_decibels(power: Tensor) -> Tensor:
    """10 log10 of a power; an empty picture's is held at -120 dB."""
    return 10 * power.clamp(min=1e-12).log10()


def difference_in_decibels(made: Tensor, real: Tensor, rings: Tensor) -> float:
    """How far the mean power (n, all) of one set in some rings is above that of the other."""
    return (in_decibels(made.mean(dim=0)[rings].mean()) - in_decibels(real.mean(dim=0)[rings].mean())).item()


def floor_in_decibels(
    real: Tensor, num: int, octaves: dict[str, Tensor], generator: torch.Generator
) -> dict[str, float]:
    """Root mean square difference of two disjoint random sets of real pictures, of `num` each, or of half of all."""
    size = min(num, len(real) // 2)
    if size < 1:
        return dict.fromkeys(octaves, math.nan)
    squares = dict.fromkeys(octaves, 0.0)
    for _ in range(NUM_SPLITS):
        one, other = real[torch.randperm(len(real), generator=generator)[: 2 * size]].split(size)
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


def neighbours(model: ModelUnderTest) -> Section:
    """A strip, a histogram and a row of figures in pixels, and in features where the model has some."""
    model.check("neighbours", "pictures")
    made, held_out, training = model.samples().signal, model.real_pictures(NUM_HELD_OUT), model.prepared.train.pictures
    # A picture that was learned from both ways round counts both ways round.
    mirrored = (made.flip(-1), held_out.flip(-1)) if model.prepared.train.is_mirrored else None
    unit = 255 * made[0].numel() ** 0.5  # a distance is the root mean square of a pixel's, 0 to 1
    distances, places = find_nearest(torch.stack([made, *(mirrored or ())[:1]], dim=1), training, NUM_NEAREST)
    found = nearest_training_distance("pixels", made, held_out, training, unit=unit, mirrored=mirrored)
    spaces = [(found, distances / unit, places)]
    if model.features is not None:
        described = [features_of(model.features, pictures) for pictures in (made, held_out, training)]
        found = nearest_training_distance(model.features.name, *described)
        spaces.append((found, *find_nearest(described[0].unsqueeze(1), described[2], NUM_NEAREST)))
    items: list[Medium | Table] = []
    said, rows = [SECTIONS["pictures.neighbours"]], []
    for found, distances, places in spaces:
        items += _pictures(model, made, training, found, distances, places)
        said.append(f"In {found.space}: {say_nearest(found, count_copies(distances))}")
        share = found.closer(QUANTILE)
        low, high = interval(share, len(found.made))
        medians = [values.double().median().item() for values in (found.made, found.held_out)]
        figures = (*medians, found.made.min().item(), found.limit(QUANTILE), share)
        rows.append((found.space, *figures, f"{low:.3f} to {high:.3f}", QUANTILE))
    columns = ["space", "samples, median", "held out, median", "samples, least", "held out, 5th percentile"]
    columns += ["share of samples closer", "95% interval", "expected"]
    num = f"{len(made)} samples, {len(held_out)} held out, {len(training)} in training"
    table = Table(columns, rows, f"distance to the nearest training picture; {num}")
    return Section("Nearest training pictures", " ".join(said), [*items, table])


def _pictures(
    model: ModelUnderTest,
    made: Tensor,
    training: Tensor | Rows,
    found: NearestTrainingDistance,
    distances: Tensor,
    places: Tensor,
) -> list[Medium]:
    """The strip of the most suspicious samples, and the histogram. distances, places: (n, NUM_NEAREST), the nearest."""
    order = found.suspects(NUM_SHOWN)
    pictures = [made[order], *(training[column] for column in places[order].T)]
    sheet = draw_sheet(
        list(zip(*map(to_images, pictures), strict=True)),
        model.names(model.labels()[order]),
        ["sample", "nearest", "second", "third"][: len(pictures)],
        captions=[["", *(f"{distance:.3g}" for distance in row)] for row in distances[order].tolist()],
        title=f"nearest in {found.space}",
    )
    both = {"samples": found.made.double().cpu(), "real, held out": found.held_out.double().cpu()}
    low, high = torch.cat(list(both.values())).aminmax()
    edges = torch.linspace(low, max(high, low + 1e-6), 31).tolist()
    figure = histogram_figure(both, edges, f"distance to the nearest training picture, in {found.space}")
    axes, name = figure.axes[0], f"neighbours-{found.space}"
    axes.axvline(found.limit(QUANTILE), color="0.3", linestyle=":", label="5th percentile of held out")
    axes.legend(fontsize=8, frameon=False)
    return [
        Medium(name, encode_png(sheet), f"samples and their nearest training pictures, in {found.space}"),
        Medium(f"{name}-histogram", to_png(figure), f"distances to training pictures, in {found.space}"),
    ]


def find_nearest(views: Tensor, references: Tensor | Rows, num: int) -> tuple[Tensor, Tensor]:
    """Distances and places (n, num) of the nearest references (m, ...), by the nearest of views (n, views, ...)."""
    queries, found = views.flatten(2).double(), []  # (n, views, D)
    for first in range(0, len(references), CHUNK):
        own = references[first : first + CHUNK].flatten(1).double()
        found.append(torch.stack([torch.cdist(view, own) for view in queries.unbind(1)]).amin(dim=0))
    distances, places = torch.cat(found, dim=1).topk(min(num, len(references)), dim=1, largest=False)
    return distances, places


def count_copies(distances: Tensor) -> int:
    """How many of n samples are copies, by the distances (n, k) of the nearest training pictures in their order."""
    return int((distances[:, 0] < COPY * distances[:, :2][:, -1]).sum())


def say_nearest(found: NearestTrainingDistance, num_copies: int) -> str:
    """Whether samples come from memory, in plain words."""
    share, num = found.closer(QUANTILE), len(found.made)
    low, high = interval(share, num)
    suspect = num_copies or low > QUANTILE
    return (
        f"{share:.0%} of {num} samples (95%: {low:.0%} to {high:.0%}) are closer to a training picture than 95% of "
        f"held-out ones are, where {QUANTILE:.0%} is expected, and {num_copies} are copies: "
        f"{'look at them, the model may draw from memory' if suspect else 'no sign of memorisation'}."
    )
