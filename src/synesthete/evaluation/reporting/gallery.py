"""Made samples beside real ones, as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.reporting.report import Medium
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image
    from torch import Tensor

    Draw = Callable[[Any], Sequence[Image.Image]]

NUM_CLASSES = 20  # rows of the gallery
NUM_SHOWN = 8  # samples of a class, made and real each


def plain_gallery(sides: Sequence[Any], draw: Draw) -> Medium:
    """The first made samples above the first real ones; draw: a picture of each."""
    rows = [draw(samples[: 2 * NUM_SHOWN]) for samples in sides]
    return Medium("gallery", encode_png(draw_sheet(rows, ["made", "real"])), "above: made; below: real, held out")


def class_gallery(halves: Sequence[tuple[Any, Tensor, Tensor]], class_names: Sequence[str], draw: Draw) -> Medium:
    """A row a class: what was made, captioned where the classifier sees something else, and real held-out samples.

    halves: samples (n, ...), their classes (n,), and what the classifier takes them for (n,), made and real. draw: a
    picture of each.
    """
    classes = halves[0][1].unique()[:NUM_CLASSES].tolist()
    rows: list[list[Image.Image | None]] = []
    captions = []
    for label in classes:
        row: list[Image.Image | None] = []
        said: list[str] = []
        for number, (samples, labels, answers) in enumerate(halves):
            places = (labels == label).nonzero().flatten()[:NUM_SHOWN]
            gap = [None] * (NUM_SHOWN - len(places) + 1 - number)
            row += [*draw(samples[places]), *gap]
            seen = answers[places].tolist()
            said += ["" if answer == label else class_names[answer] for answer in seen] + [""] * len(gap)
        rows.append(row)
        captions.append(said)
    title = "left: made; right: real, held out; below: what the classifier sees, where it sees something else"
    sheet = draw_sheet(rows, [class_names[label] for label in classes], captions=captions, title=title)
    return Medium("gallery", encode_png(sheet), title)
