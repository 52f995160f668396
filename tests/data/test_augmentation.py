"""Photographs flipped and cropped, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from synesthete.data.augmentation import FlipCrop, interpolate, mirror, take_pixels
from synesthete.types import InputError


def photos(batch=64, channels=3, height=12, width=9) -> torch.Tensor:
    shape = (batch, channels, height, width)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def applied(pictures, seed=0, **fields) -> torch.Tensor:
    return FlipCrop(**fields)(pictures, torch.Generator().manual_seed(seed))


def test_no_flip_and_no_padding_change_nothing():
    assert torch.equal(applied(photos(), flip=0, padding=0), photos())


def test_a_flip_is_a_mirror_image_and_flipped_twice_the_picture():
    flipped = applied(photos(), flip=1, padding=0)
    assert torch.equal(flipped, photos().flip(3))
    assert torch.equal(applied(flipped, flip=1, padding=0), photos())


def test_about_half_are_flipped_each_by_its_own_draw():
    pictures = photos(400)
    found = applied(pictures, padding=0)
    flipped = (found == pictures.flip(3)).flatten(1).all(1)
    assert torch.equal(found[~flipped], pictures[~flipped])
    assert 160 < flipped.sum() < 240


def test_a_crop_is_a_window_of_the_mirrored_picture_and_every_window_has_its_turn():
    padding, pictures = 2, photos(600)
    padded = F.pad(pictures.float(), [padding] * 4, mode="reflect").to(torch.uint8)
    seen = set()
    for picture, window in zip(padded, applied(pictures, flip=0, padding=padding), strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(picture[:, y : y + 12, x : x + 9], window)]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25


def test_a_flipped_crop_is_the_crop_flipped():
    """The draws of the crop do not depend on the flip."""
    crops, flipped = (applied(photos(), flip=flip, padding=3) for flip in (0, 1))
    assert torch.equal(flipped, crops.flip(3))


def test_a_scaled_crop_lies_inside_and_keeps_range_and_plain_colours():
    plain = torch.full((8, 3, 10, 10), 77, dtype=torch.uint8)
    assert torch.equal(applied(plain, min_scale=0.1, padding=2), plain)
    pictures = photos(256, 1, 16, 16)
    found = applied(pictures, min_scale=0.25, padding=0, flip=0)
    assert (found.dtype, found.shape) == (torch.uint8, pictures.shape)
    assert (found.amin((1, 2, 3)) >= pictures.amin((1, 2, 3))).all()
    assert (found.amax((1, 2, 3)) <= pictures.amax((1, 2, 3))).all()
    ramp = (10 * torch.arange(16)).expand(200, 1, 16, 16).to(torch.uint8)
    steps = applied(ramp, min_scale=0.25, padding=0, flip=0)[:, 0, 0, 4:12].double().diff(dim=1).mean(1)
    assert steps.min() >= 4.5  # half the side at least: the ramp is at most half as steep
    assert steps.max() <= 10.5
    assert steps.std() > 1


def test_interpolation_between_pixels_agrees_with_a_closed_form():
    pictures = photos(2, 3, 6, 7)
    rows, columns = torch.tensor([[0.0, 2.25], [4.5, 1.0]]), torch.tensor([[3.5], [0.75]])
    found = interpolate(pictures, rows, columns)
    values = pictures.double()
    for i in range(2):
        for j, y in enumerate(rows[i].tolist()):
            x = columns[i, 0].item()
            (y0, dy), (x0, dx) = divmod(y, 1), divmod(x, 1)
            corner = values[i, :, int(y0) : int(y0) + 2, int(x0) : int(x0) + 2]
            corner = F.pad(corner, (0, 2 - corner.shape[2], 0, 2 - corner.shape[1]))
            weights = torch.tensor([[(1 - dy) * (1 - dx), (1 - dy) * dx], [dy * (1 - dx), dy * dx]])
            expected = (corner * weights).sum((1, 2))
            assert (found[i, :, j, 0] - expected).abs().max() <= 0.51


def test_places_between_whole_pixels_agree_with_those_on_them():
    pictures = photos()
    rows, columns = torch.arange(12).expand(64, 12), torch.arange(9).flip(0).expand(64, 9)
    assert torch.equal(interpolate(pictures, rows.float(), columns.float()), take_pixels(pictures, rows, columns))


def test_mirrored_places_are_those_of_numpy():
    padded = np.pad(np.arange(5), 4, mode="reflect")
    assert mirror(torch.arange(-4, 9), 5).tolist() == padded.tolist()


def test_the_same_draws_give_the_same_pictures_and_a_batch_is_as_long_as_it_was():
    for fields in ({}, {"min_scale": 0.3}):
        assert torch.equal(applied(photos(), **fields), applied(photos(), **fields))
        assert not torch.equal(applied(photos(), **fields), applied(photos(), 1, **fields))
        assert applied(photos(0), **fields).shape == (0, 3, 12, 9)


@pytest.mark.parametrize("fields", [{"flip": 1.5}, {"padding": -1}, {"min_scale": 0}, {"min_scale": 1.1}])
def test_fields_out_of_range_are_one_line(fields):
    with pytest.raises(InputError, match="give a chance from 0 to 1") as caught:
        FlipCrop(**fields)
    assert "\n" not in str(caught.value)


def test_a_padding_wider_than_the_picture_is_one_line():
    with pytest.raises(InputError, match="padding 9 with pictures of 12 x 9; give less than their side"):
        applied(photos(), padding=9)
