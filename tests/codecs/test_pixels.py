"""The pixel codec (law 1): mean 0 and spread 1 as measured, every 8-bit picture back to the bit, clamped at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from synesthete.codecs.pixels import PixelCodec
from synesthete.data.pictures import BuiltInDigits
from synesthete.types import InputError


@st.composite
def batches(draw) -> torch.Tensor:
    """Pictures (B, C, H, W) uint8 of any content, grey or RGB, square or not."""
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 3])), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    return torch.from_numpy(draw(npst.arrays(np.uint8, shape)))


def made_for(pictures: torch.Tensor) -> PixelCodec:
    return PixelCodec(size=tuple(pictures.shape[2:]), channels=pictures.shape[1])


def photos(num: int, seed: int = 0) -> torch.Tensor:
    """Pictures (B, 3, 8, 8) uint8 whose channels differ in mean and spread."""
    random = np.random.default_rng(seed)
    centre, width = np.array([60, 128, 200]).reshape(3, 1, 1), np.array([5, 20, 40]).reshape(3, 1, 1)
    return torch.from_numpy((random.normal(size=(num, 3, 8, 8)) * width + centre).clip(0, 255).astype(np.uint8))


@given(batches(), st.booleans())
def test_every_8_bit_picture_comes_back_to_the_bit(pictures, fitted):
    codec = made_for(pictures)
    codec = codec.fit([pictures]) if fitted else codec
    x_0 = codec.encode(pictures)
    assert (x_0.shape, x_0.dtype) == (pictures.shape, torch.float32)
    assert torch.equal(codec.decode(x_0), pictures)
    assert torch.equal(codec.decode(x_0.half()), pictures)  # as encoded pictures are kept
    assert torch.equal(codec.encode(pictures.double() / 255), x_0)


@given(batches())
def test_what_it_was_fitted_on_has_mean_0_and_spread_1(pictures):
    codec = made_for(pictures).fit([pictures])
    x_0 = codec.encode(pictures).transpose(0, 1).flatten(1)
    assert x_0.mean(1).abs().max() < 1e-3
    for channel, values in zip(pictures.unbind(1), x_0, strict=True):
        spread = channel.double().std(correction=0).item()
        assert values.std(correction=0).item() == pytest.approx(min(spread, 1), abs=1e-3)


def test_each_channel_is_measured_for_itself():
    pictures = photos(64)
    codec = PixelCodec(8).fit([pictures])
    values = pictures.double() / 255
    torch.testing.assert_close(codec.mean.flatten(), values.mean((0, 2, 3)).float())
    torch.testing.assert_close(codec.scale.flatten(), values.std((0, 2, 3), correction=0).float())
    unseen = codec.encode(photos(64, seed=1))
    assert unseen.mean((0, 2, 3)).abs().max() < 0.05
    assert unseen.std((0, 2, 3)).sub(1).abs().max() < 0.05


def test_fitting_does_not_depend_on_how_pictures_are_batched():
    pictures = photos(30)
    whole, parts = PixelCodec(8).fit([pictures]), PixelCodec(8).fit(iter(pictures.split(7)))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())


def test_before_it_is_fitted_x_0_is_between_minus_1_and_1():
    codec = PixelCodec(2, channels=1)
    pictures = torch.tensor([0, 255, 0, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    assert codec.encode(pictures).unique().tolist() == [-1, 1]


def test_black_is_one_number_in_each_channel():
    codec = PixelCodec(8).fit([photos(64)])
    black = codec.encode(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert torch.equal(black, codec.black.expand(1, 3, 8, 8))
    assert codec.black.flatten().unique().numel() == 3


def test_nothing_is_clamped_before_it_is_a_picture():
    codec = PixelCodec(8).fit([photos(64)])
    x_0 = torch.linspace(-1e4, 1e4, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    values = codec.denormalise(x_0)
    assert values.min() < -100 and values.max() > 100
    assert torch.equal(codec.decode(x_0), (values * 255).round().clamp(0, 255).to(torch.uint8))


def test_a_batch_equals_its_singles():
    codec, pictures = PixelCodec(8).fit([photos(64)]), photos(4)
    singles = [codec.encode(picture[None]) for picture in pictures]
    assert torch.equal(codec.encode(pictures), torch.cat(singles))
    assert torch.equal(codec.decode(torch.cat(singles)), torch.cat([codec.decode(single) for single in singles]))


@given(batches())
def test_pictures_show_what_was_encoded(pictures):
    codec = made_for(pictures)
    images = codec.pictures(codec.encode(pictures))
    assert {image.mode for image in images} == {"L" if pictures.shape[1] == 1 else "RGB"}
    assert torch.equal(codec.preprocess(images), pictures)


def test_a_scaled_picture_has_larger_pixels():
    codec, pictures = PixelCodec((4, 6), channels=3), photos(1)[:, :, :4, :6]
    (image,) = codec.pictures(codec.encode(pictures), scale=3)
    assert image.size == (18, 12)
    assert np.array_equal(np.asarray(image)[::3, ::3], pictures[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_size_and_mode_are_fitted(mode):
    grey, colour = PixelCodec((8, 12), channels=1), PixelCodec((8, 12), channels=3)
    images = [Image.new("RGB", size, "red").convert(mode) for size in ((12, 8), (3, 50), (200, 31))]
    for codec in (grey, colour):
        fitted = codec.preprocess(images)
        assert (fitted.shape, fitted.dtype) == ((3, *codec.shape), torch.uint8)
    assert codec.preprocess([]).shape == (0, 3, 8, 12)


def test_a_picture_is_cut_in_its_middle_and_not_stretched():
    values = np.zeros((10, 30), np.uint8)
    values[:, 10:20] = 255
    fitted = PixelCodec(10, channels=1).preprocess([Image.fromarray(values)])
    assert fitted.min() == 255


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert PixelCodec(4).preprocess([clear]).unique().tolist() == [255]


def test_digits_of_another_size_are_fitted_and_come_back():
    codec = PixelCodec(8, channels=1)
    raw = codec.preprocess(list(BuiltInDigits().pictures("test").images))
    x_0 = codec.fit([raw]).encode(raw)
    assert x_0.shape == (297, 1, 8, 8)
    assert (x_0.mean().item(), x_0.std().item()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))
    assert torch.equal(codec.decode(x_0), raw)


@pytest.mark.parametrize("size", [9, (8, 12)])
def test_it_comes_back_from_its_folder(tmp_path, size):
    codec = PixelCodec(size, channels=3)
    codec.mean += torch.rand(3, 1, 1)
    codec.save_pretrained(tmp_path)
    loaded = PixelCodec.from_pretrained(tmp_path)
    assert loaded.shape == codec.shape
    torch.testing.assert_close(loaded.state_dict(), codec.state_dict(), rtol=0, atol=0)


@given(batches(), st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.data())
def test_values_that_are_not_finite_are_refused(pictures, value, data):
    codec, spoilt = made_for(pictures), pictures.float() / 255
    spoilt.flatten()[data.draw(st.integers(0, spoilt.numel() - 1))] = value
    for call in (codec.encode, codec.decode, lambda values: codec.fit([values])):
        refused(call, spoilt, "NaN or infinite")


@pytest.mark.parametrize(
    ("pictures", "line"),
    [
        (torch.zeros(1, 3, 8, 9), r"pictures of shape (1, 3, 8, 9): this codec needs (B, 3, 8, 8)"),
        (torch.zeros(1, 1, 8, 8), r"needs (B, 3, 8, 8)"),
        (torch.zeros(3, 8, 8), r"of shape (3, 8, 8)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "torch.int64; give uint8"),
        (torch.full((1, 3, 8, 8), 255.0), "from 255 to 255; scale them to [0, 1]"),
        (torch.full((1, 3, 8, 8), -1.0), "from -1 to -1"),
    ],
)
def test_other_pictures_are_refused(pictures, line):
    refused(PixelCodec(8).encode, pictures, line)
    refused(lambda batch: PixelCodec(8).fit([batch]), pictures, line)


def test_other_x_0_and_no_pictures_are_refused():
    refused(PixelCodec(8).decode, torch.zeros(1, 3, 9, 9), "x_0 of shape (1, 3, 9, 9)")
    refused(PixelCodec(8).fit, [], "nothing to measure the codec on")
    refused(PixelCodec(8).preprocess, [Image.new("F", (8, 8), float("nan"))], "NaN or infinite pixels")


@pytest.mark.parametrize(("size", "channels"), [(0, 3), ((8, -1), 3), ((8, 8, 8), 3), (8, 2), (8, 4)])
def test_codecs_that_cannot_be_are_refused(size, channels):
    refused(lambda size: PixelCodec(size, channels), size, "codec")


def refused(call, value, line):
    with pytest.raises(InputError) as caught:
        call(value)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
