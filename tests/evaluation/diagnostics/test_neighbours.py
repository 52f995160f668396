"""Copies are found and said, and pictures drawn anew are not; over-guidance shows as a number."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.diagnostics.pictures import count_copies, find_nearest
from synesthete.evaluation.diagnostics.sampling import Saturation, measure_saturation, say_where_too_much
from synesthete.pipeline import Output
from synesthete.types import InputError
from tiny_pictures import COLOURS, tiny_pipeline


@pytest.fixture
def model(data):
    return ModelUnderTest(tiny_pipeline(), data, num=12)


@pytest.fixture
def sheets(monkeypatch):
    """What is drawn on each sheet."""
    drawn = []

    def draw(rows, row_names, column_names=(), **rest):
        drawn.append(SimpleNamespace(rows=list(rows), row_names=row_names, column_names=list(column_names), **rest))
        return Image.new("RGB", (8, 8))

    for name in ("neighbours", "guidance"):
        monkeypatch.setitem(find_diagnostic(name).__globals__, "draw_sheet", draw)
    return drawn


def showing(model: ModelUnderTest, pictures: torch.Tensor) -> ModelUnderTest:
    """The model as if its model had made these pictures."""
    model._samples = Output(pictures, torch.empty(0))
    return model


def test_copies_of_training_pictures_are_found(model, sheets):
    training = model.prepared.train.pictures
    made = model.pictures(model.held_out(12)).clone()
    made[7], made[2] = training[5], training[20]
    section = find_diagnostic("neighbours")(showing(model, made))
    assert "and 2 are copies: look at them, the model may draw from memory" in section.text
    (sheet,) = sheets
    assert sheet.column_names == ["sample", "nearest", "second", "third"]
    assert sheet.row_names[:2] == [COLOURS[0], COLOURS[1]]  # places 2 and 7 of four a class, the first two at 0
    assert sheet.captions[0][:2] == ["", "0"]
    assert len(sheet.rows) == 8
    for row, picture in zip(sheet.rows, (training[20], training[5]), strict=False):
        for image in row[:2]:
            np.testing.assert_array_equal(np.asarray(image), picture.permute(1, 2, 0).numpy())
    distances = [[float(number) for number in row[1:]] for row in sheet.captions]
    assert all(row == sorted(row) for row in distances)
    assert [row[0] for row in distances] == sorted(row[0] for row in distances)


def test_held_out_pictures_are_no_copies(model, sheets):
    section = find_diagnostic("neighbours")(showing(model, model.pictures(model.held_out(12))))
    assert "0 are copies: no sign of memorisation." in section.text
    table = section.items[-1]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["space"] == "pixels"
    assert row["share of samples closer"] < 0.2
    assert row["expected"] == 0.05


def test_a_mirrored_training_picture_counts_where_training_mirrored(model, sheets):
    made = model.pictures(model.held_out(12)).clone()
    made[0] = model.prepared.train.pictures[3].flip(-1)
    assert "1 are copies" in find_diagnostic("neighbours")(showing(model, made)).text  # its recipe flips
    unflipped = replace(model.prepared, train=replace(model.prepared.train, augmentation=None))
    plain = ModelUnderTest(model.pipeline, unflipped, num=12)
    assert "0 are copies" in find_diagnostic("neighbours")(showing(plain, made)).text


def test_features_are_compared_where_there_are_some(model, sheets):
    def means(pictures):
        return pictures.float().mean(dim=(2, 3))

    means.name = "means"
    model.features = means
    made = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    made[4] = model.prepared.train.pictures[11].flip(-2)  # the same means
    section = find_diagnostic("neighbours")(showing(model, made))
    assert [sheet.title for sheet in sheets] == ["nearest in pixels", "nearest in means"]
    assert [row[0] for row in section.items[-1].rows] == ["pixels", "means"]
    assert float(sheets[1].captions[0][1]) == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(
        np.asarray(sheets[1].rows[0][1]), model.prepared.train.pictures[11].permute(1, 2, 0).numpy()
    )
    assert "In pixels: " in section.text
    assert "In means: " in section.text


def test_the_nearest_are_those_of_a_search_through_all():
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(700, 2, 3, generator=generator)
    views = torch.randn(5, 2, 2, 3, generator=generator)
    distances, places = find_nearest(views, references, 3)
    every = (views[:, :, None] - references).flatten(3).norm(dim=3).amin(dim=1)
    expected = every.topk(3, largest=False)
    torch.testing.assert_close(distances.float(), expected.values, rtol=1e-4, atol=1e-5)
    assert places.tolist() == expected.indices.tolist()
    assert find_nearest(views, references[:2], 3)[0].shape == (5, 2)


def test_a_copy_is_far_closer_to_one_than_to_the_next():
    assert count_copies(torch.tensor([[0.0, 1.0], [0.3, 1.0], [0.4, 1.0], [1.0, 1.0]])) == 2


def test_the_strip_is_one_noise_under_rising_guidance(model, sheets):
    section = find_diagnostic("guidance")(model)
    (sheet,) = sheets
    assert sheet.column_names == ["0", "1", "1.5", "2 (own)", "3", "6", "9"]
    assert sheet.row_names == list(COLOURS)
    for scale, column in (("1.5", 2), ("6", 5)):
        expected = model.pipeline(
            torch.arange(3), generators=model.generators(3), guidance_scale=float(scale)
        ).signal.permute(0, 2, 3, 1)
        for row in range(3):
            np.testing.assert_array_equal(np.asarray(sheet.rows[row][column]), expected[row].numpy())
    table = section.items[1]
    assert [row[0] for row in table.rows] == ["real", *sheet.column_names]
    assert table.rows[0][2] == 0.0


def test_saturation_by_hand():
    picture = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    picture[0, 0, 0, 0], picture[0, 1, 0, 0] = 0, 255
    levels = picture.float() / 255
    levels[0, 1, 0, 0] = 1.2
    found = measure_saturation(picture, levels)
    assert found.ends.item() == pytest.approx(2 / 12)
    assert found.excess.item() == pytest.approx(0.2 * 255 / 12)
    assert found.contrast.item() == pytest.approx(np.asarray([0, 255, *[100] * 10]).std())
    assert found.colour.item() == pytest.approx(255 / 4)
    assert measure_saturation(picture).excess.item() == 0


def some(contrast: float, ends: float) -> Saturation:
    return Saturation(torch.tensor([float(ends)]), torch.zeros(1), torch.tensor([float(contrast)]), torch.zeros(1))


def test_too_much_guidance_is_said_with_its_number():
    real, scales = some(50, 0.02), (0.0, 1.0, 3.0, 9.0)
    said = say_where_too_much(scales, [some(40, 0), some(50, 0.02), some(52, 0.03), some(70, 0.2)], real, own=3.0)
    assert said == (
        "Over-guided from 9 on: contrast 1.40 of real ones', share of values at black or white +18.0 points; "
        "at the model's own 3 contrast is 1.04 of real ones'."
    )
    said = say_where_too_much(scales, [some(40, 0), some(50, 0.02), some(52, 0.3), some(52, 0.4)], real, own=3.0)
    assert said.startswith("Over-guided from 3 on")
    assert said.endswith("its own scale is among them.")
    # Too much without guidance as well: not guidance's doing.
    said = say_where_too_much(scales, [some(70, 0.2)] * 4, real, own=3.0)
    assert said == "None of these scales is too much; at the model's own 3 contrast is 1.40 of real ones'."


def test_a_model_that_is_told_nothing_cannot_be_guided(silent, data):
    with pytest.raises(InputError, match="guidance: this model is told nothing"):
        find_diagnostic("guidance")(ModelUnderTest(silent, data, num=12))
