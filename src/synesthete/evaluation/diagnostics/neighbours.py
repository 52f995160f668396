"""The training pictures nearest to samples: whether the model draws anew, or from memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.memorization import nearest_training_distance
from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.rows import Rows
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.evaluation.metrics.memorization import NearestTrainingDistance

NUM_SHOWN, NUM_NEAREST = 8, 3
NUM_HELD_OUT = 300
QUANTILE = 0.05
# A copy, after Yoon et al. 2023: its nearest training picture is at under a third of the distance of the next one.
COPY = 1 / 3
CHUNK = 512


@dataclass(frozen=True)
class Neighbours:
    """In one space: distances of all samples and held-out pictures to training, and the nearest pictures.

    nearest, places: (n, NUM_NEAREST), distances of the samples and which training pictures those are to.
    """

    found: NearestTrainingDistance
    nearest: Tensor
    places: Tensor


def neighbours(model: ModelUnderTest) -> Section:
    """A strip, a histogram and a row of figures in pixels, and in features where the model has some.

    Raises:
        InputError: a model that makes no pictures.
    """
    model.check_pictures("neighbours")
    made, held_out, training = model.samples().signal, model.real_pictures(NUM_HELD_OUT), model.prepared.train.pictures
    # A picture that was learned from both ways round counts both ways round.
    mirrored = getattr(model.prepared.train.augmentation, "flip", 0) > 0
    other_way = (made.flip(-1), held_out.flip(-1)) if mirrored else None
    unit = 255 * made[0].numel() ** 0.5  # a distance is the root mean square of a pixel's, 0 to 1
    distances, places = find_nearest(torch.stack([made, *(other_way or ())[:1]], dim=1), training, NUM_NEAREST)
    pixels = nearest_training_distance("pixels", made, held_out, training, unit=unit, mirrored=other_way)
    spaces = [Neighbours(pixels, distances / unit, places)]
    if (features := model.features) is not None:
        described = [
            torch.cat([features(part[first : first + CHUNK]).float().cpu() for first in range(0, len(part), CHUNK)])
            for part in (made, held_out, training)
        ]
        found = nearest_training_distance(features.name, *described)
        spaces.append(Neighbours(found, *find_nearest(described[0].unsqueeze(1), described[2], NUM_NEAREST)))
    items: list[Medium | Table] = [medium for space in spaces for medium in _pictures(model, made, training, space)]
    said = [f"In {space.found.space}: {say(space.found, count_copies(space.nearest))}" for space in spaces]
    return Section("Nearest training pictures", " ".join([_TEXT, *said]), [*items, _table(spaces)])


def _pictures(model: ModelUnderTest, made: Tensor, training: Tensor | Rows, space: Neighbours) -> list[Medium]:
    """The strip of the most suspicious samples, and the histogram."""
    found = space.found
    order = found.suspects(NUM_SHOWN)
    pictures = [made[order], *(training[column] for column in space.places[order].T)]
    sheet = draw_sheet(
        list(zip(*map(to_images, pictures), strict=True)),
        model.names(model.labels()[order]),
        ["sample", "nearest", "second", "third"][: len(pictures)],
        captions=[["", *(f"{distance:.3g}" for distance in row)] for row in space.nearest[order].tolist()],
        title=f"nearest in {found.space}",
    )
    name, where = f"neighbours-{found.space}", f"in {found.space}"
    return [
        Medium(name, encode_png(sheet), f"samples and their nearest training pictures, {where}"),
        Medium(f"{name}-histogram", to_png(histogram(found)), f"distances to training pictures, {where}"),
    ]


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
    """How many of n samples are copies, by the distances (n, k) of the nearest training pictures in their order."""
    return int((distances[:, 0] < COPY * distances[:, :2][:, -1]).sum())


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


def _table(spaces: list[Neighbours]) -> Table:
    columns = ["space", "samples, median", "held out, median", "samples, least", "held out, 5th percentile"]
    columns += ["share of samples closer", "95% interval", "expected"]
    rows = []
    for found in (space.found for space in spaces):
        share = found.closer(QUANTILE)
        low, high = interval(share, len(found.made))
        medians = [values.double().median().item() for values in (found.made, found.held_out)]
        distances = (*medians, found.made.min().item(), found.limit(QUANTILE))
        rows.append((found.space, *distances, share, f"{low:.3f} to {high:.3f}", QUANTILE))
    num = f"{len(found.made)} samples, {len(found.held_out)} held out, {found.num_training} in training"
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


_TEXT = (
    "Each row is a sample and the three training pictures nearest to it, with their distances, the most suspicious "
    "sample first. A copy is at distance 0, or far closer to one of them than to the next. Real held-out pictures, "
    "which cannot be copies, are what to compare with: one in twenty of them is closer than their 5th percentile. "
    "In pixels, whatever is too smooth is close to everything; features are less easily misled."
)
