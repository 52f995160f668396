"""The same noise told of every class, and of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Medium, Section

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest


def classes(model: ModelUnderTest) -> Section:
    """A row a noise, a column a class; first the column of guidance 0, which is told of none."""
    rows = model.num_seeds
    if not model.is_conditional:  # all samples are of one kind: as many of them as a row would hold
        labels = torch.zeros(rows * model.num_shown, dtype=torch.int64)
        images = model.images(model.draw(labels))
        table = [images[i * model.num_shown :][: model.num_shown] for i in range(rows)]
        sheet = draw_sheet(table, [""] * rows, title="samples")
        return Section("Samples", "Samples of a model that is told nothing.", [Medium("classes", encode_png(sheet))])
    labels = model.classes()
    columns = [draw(model, labels[:1], guidance_scale=0.0), draw(model, labels)]
    scale = model.pipeline.sampling_settings(**model.settings)["guidance_scale"]
    sheet = draw_sheet(
        [[*null, *told] for null, told in zip(*columns, strict=True)],
        [f"noise {i}" for i in range(rows)],
        ["no class", *model.names(labels)],
        title=f"guidance {scale:g}; first column unconditional",
    )
    return Section("Classes", _TEXT.format(scale=f"{scale:g}"), [Medium("classes", encode_png(sheet), "Same noise")])


def draw(model: ModelUnderTest, labels: Tensor, **settings: float) -> list[list[Image.Image]]:
    """Rows of one sample a class (k,), all of a row from the same noise, a row for each of the model's seeds."""
    rows, columns = model.num_seeds, len(labels)
    generators = [generator for _ in range(columns) for generator in model.generators(rows)]  # class by class
    images = model.images(model.draw(labels.repeat_interleave(rows), generators=generators, **settings))
    return [images[row::rows] for row in range(rows)]


_TEXT = (
    "The noise is the same in a row, the class in a column, at guidance {scale}; the first column is told of no class "
    "(guidance 0). What is equal along a row comes of the noise, what is equal along a column of the class. Rows of "
    "one picture repeated mean that the class is ignored; columns of one picture repeated, that the model makes one "
    "picture a class."
)
