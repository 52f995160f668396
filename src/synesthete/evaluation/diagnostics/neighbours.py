"""The training pictures nearest to samples: whether the model draws anew, or from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure

from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.memorization import nearest_training_distance
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.rows import Rows
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.evaluation.metrics.memorization import NearestTrainingDistance
    from synesthete.evaluation.pictures.features import Features

HOW = (
    "Each row is a sample and the three training pictures nearest to it, with their distances, the most suspicious "
    "sample first. A copy is at distance 0, or far closer to one of them than to the next. Real held-out pictures, "
    "which cannot be copies, are what to compare with: one in twenty of them is closer than their 5th percentile. "
    "In pixels, whatever is too smooth is close to everything; features are less easily misled."
)
NUM_SHOWN, NUM_NEAREST = 8, 3
NUM_HELD_OUT = 300
QUANTILE = 0.05
# A copy, after Yoon et al. 2023: its nearest training picture is at under a third of the distance of the next one.
COPY = 1 / 3
CHUNK = 512
PIXELS = "pixels"
PLACES = ("nearest", "second", "third")


def neighbours(model: ModelUnderTest) -> Section:
    """A strip, a histogram and a row of figures in pixels, and in features where the model has some.

    Raises:
        InputError: a model that makes no pictures.
    """
    if not model.makes_pictures:
        raise InputError("neighbours: only of models that make pictures; leave this diagnostic out")
    made, held_out, training = model.samples().signal, held_out_pictures(model), model.prepared.train.pictures
    # A picture that was learned from both ways round counts both ways round.
    mirrored = getattr(model.prepared.train.augmentation, "flip", 0) > 0
    other_way = (made.flip(-1), held_out.flip(-1)) if mirrored else None
    unit = 255 * made[0].numel() ** 0.5  # a distance is the root mean square of a pixel's, 0 to 1
    spaces = [nearest_training_distance(PIXELS, made, held_out, training, unit=unit, mirrored=other_way)]
    # What is compared in each space: (n, views, ...) against (m, ...), and in which unit.
    looks = [(torch.stack([made, made.flip(-1)] if mirrored else [made], dim=1), training, unit)]
    if model.features is not None:
        of = [features_of(model.features, pictures) for pictures in (made, held_out, training)]
        spaces.append(nearest_training_distance(model.features.name, *of))
        looks.append((of[0].unsqueeze(1), of[2], 1.0))
    items: list[Any] = [item for pair in zip(spaces, looks, strict=True) for item in _pictures(model, *pair, training)]
    said = [HOW]
    for space, (views, references, _) in zip(spaces, looks, strict=True):
        distances, _ = find_nearest(views, references, 2)
        said.append(f"In {space.space}: {say(space, count_copies(distances))}")
    return Section("Nearest training pictures", " ".join(said), [*items, table(spaces)])


def _pictures(
    model: ModelUnderTest,
    found: NearestTrainingDistance,
    looks: tuple[Tensor, Tensor | Rows, float],
    training: Tensor | Rows,
) -> list[Medium]:
    """The strip and the histogram of a space."""
    views, references, unit = looks
    order = found.suspects(NUM_SHOWN)
    distances, places = find_nearest(views[order], references, NUM_NEAREST)
    pictures = [model.samples().signal[order], *(training[column] for column in places.T)]
    sheet = draw_sheet(
        list(zip(*map(to_images, pictures), strict=True)),
        model.names(model.labels()[order]),
        ["sample", *PLACES[: places.shape[1]]],
        captions=[["", *(f"{distance:.3g}" for distance in row)] for row in (distances / unit).tolist()],
        title=f"nearest in {found.space}",
    )
    name = f"neighbours-{found.space}"
    return [
        Medium(name, encode_png(sheet), f"samples and their nearest training pictures, in {found.space}"),
        Medium(f"{name}-histogram", to_png(histogram(found)), f"distances to training pictures, in {found.space}"),
    ]


def features_of(features: Features, pictures: Tensor | Rows) -> Tensor:
    """(n, D), computed a part of the pictures (n, C, H, W) uint8 after the other."""
    parts = [features(pictures[first : first + CHUNK]) for first in range(0, len(pictures), CHUNK)]
    return torch.cat([part.float().cpu() for part in parts])


def held_out_pictures(model: ModelUnderTest, num: int = NUM_HELD_OUT) -> Tensor:
    """Real held-out pictures (n, C, H, W) uint8 of the classes that samples are made of."""
    batch = model.held_out(num)
    pictures = model.pictures(batch)
    return pictures[torch.isin(batch.label, model.classes())] if model.is_conditional else pictures


def find_nearest(views: Tensor, references: Tensor | Rows, num: int) -> tuple[Tensor, Tensor]:
    """Distances (n, k) to the k = num nearest references (m, ...) and their places (n, k), by the nearest view each.

    views: (n, views, ...), such as a picture and its mirror image.
    """
    queries, found = views.flatten(2).double(), []  # (n, views, D)
    for first in range(0, len(references), CHUNK):
        own = references[first : first + CHUNK].flatten(1).double()
        found.append(torch.stack([torch.cdist(view, own) for view in queries.unbind(1)]).amin(dim=0))
    distances, places = torch.cat(found, dim=1).topk(min(num, len(references)), dim=1, largest=False)
    return distances, places


def count_copies(distances: Tensor) -> int:
    """How many of n samples are copies, by the distances (n, 2) of the two nearest training pictures."""
    return int((distances[:, 0] < COPY * distances[:, -1]).sum())


def say(found: NearestTrainingDistance, num_copies: int) -> str:
    """Whether samples come from memory, in plain words."""
    share, num = found.closer(QUANTILE), len(found.made)
    low, high = interval(share, num)
    said = (
        f"{share:.0%} of {num} samples (95%: {low:.0%} to {high:.0%}) are closer to a training picture than 95% of "
        f"held-out ones are, where {QUANTILE:.0%} is expected, and {num_copies} are copies"
    )
    if num_copies or low > QUANTILE:
        return f"{said}: look at them, the model may draw from memory."
    return f"{said}: no sign of memorisation."


def table(spaces: list[NearestTrainingDistance]) -> Table:
    """A row a space."""
    rows = []
    for found in spaces:
        share = found.closer(QUANTILE)
        low, high = interval(share, len(found.made))
        medians = [values.double().median().item() for values in (found.made, found.held_out)]
        limit = found.limit(QUANTILE)
        rows.append(
            (found.space, *medians, found.made.min().item(), limit, share, f"{low:.3f} to {high:.3f}", QUANTILE)
        )
    columns = (
        "space",
        "samples, median",
        "held out, median",
        "samples, least",
        "held out, 5th percentile",
        "share of samples closer",
        "95% interval",
        "expected",
    )
    num = f"{len(spaces[0].made)} samples, {len(spaces[0].held_out)} held out, {spaces[0].num_training} in training"
    return Table(columns, rows, f"distance to the nearest training picture; {num}")


def histogram(found: NearestTrainingDistance) -> Figure:
    """How often each distance occurs, of samples and of held-out pictures, and the latter's 5th percentile."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    both = {"samples": found.made.double().cpu(), "real, held out": found.held_out.double().cpu()}
    low, high = (float(extreme(torch.cat(list(both.values())))) for extreme in (torch.min, torch.max))
    edges = torch.linspace(low, max(high, low + 1e-6), 31).tolist()
    for (name, values), colour in zip(both.items(), COLOURS, strict=False):
        weights = torch.full((len(values),), 1 / len(values))
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.55, label=f"{name} (n = {len(values)})")
    axes.axvline(found.limit(QUANTILE), color="0.3", linestyle=":", label="5th percentile of held out")
    axes.set_xlabel(f"distance to the nearest training picture, in {found.space}")
    axes.set_ylabel("share")
    axes.legend(fontsize=8, frameon=False)
    return figure
