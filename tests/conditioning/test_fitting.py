"""Pictures of any size and mode land where the network was trained to see them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from synesthete.conditioning.pictures import fit_picture
from synesthete.data.picture import read_picture
from synesthete.data.pictures import BuiltInDigits, Mnist

SIZE = 28


def stroke(width=28, height=28, ink=255, ground=0, shift=(0, 0), scale=1.0) -> Image.Image:
    """A zed: two bars and a slanting stem, its mass in its middle."""
    picture = Image.new("L", (width, height), ground)
    side = min(width, height) * 0.5 * scale
    left, top = (width - side) / 2 + shift[0], (height - side) / 2 + shift[1]
    line = max(1, round(side / 7))
    points = [(left, top), (left + side, top), (left, top + side), (left + side, top + side)]
    ImageDraw.Draw(picture).line(points, fill=ink, width=line, joint="curve")
    return picture


def fit(picture: Image.Image, size: int = SIZE) -> np.ndarray:
    fitted = fit_picture(picture, size, "L", "ink")
    assert fitted.shape == (1, size, size)
    assert fitted.dtype == np.uint8
    return fitted[0].astype(float)


def centre(values: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(values.shape)
    return (values * rows).sum() / values.sum(), (values * columns).sum() / values.sum()


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def assert_laid_out(values: np.ndarray) -> None:
    """The layout of MNIST: the box 20 of 28, the centre of mass in the middle, white on black."""
    assert values.max() > 200
    rows, columns = np.nonzero(values > 64)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    assert 17 <= extent * 28 / len(values) <= 21
    assert centre(values) == pytest.approx(((len(values) - 1) / 2,) * 2, abs=0.6)
    assert values[0].max() == values[-1].max() == 0


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (300, 200), (200, 300), (31, 640)])
@pytest.mark.parametrize("colours", [(255, 0), (0, 255), (90, 200), (180, 40)])
def test_every_size_and_every_pair_of_greys_lands_centred(size, colours):
    assert_laid_out(fit(stroke(*size, *colours)))


def test_small_and_large_pictures_of_one_thing_look_alike():
    large = fit(stroke(300, 200))
    assert alike(fit(stroke(28, 28)), large) > 0.8
    assert alike(fit(stroke(100, 100)), large) > 0.95
    assert alike(fit(stroke(1000, 900)), large) > 0.95


def test_black_on_white_is_white_on_black():
    picture = stroke(60, 60)
    assert np.abs(fit(picture) - fit(ImageOps.invert(picture))).max() <= 1
    for one, other in zip(BuiltInDigits().pictures("test").images[:20], range(20), strict=True):
        assert np.abs(fit(one) - fit(ImageOps.invert(one))).max() <= 1, other


@given(dx=st.integers(-20, 20), dy=st.integers(-20, 20))
def test_where_the_ink_was_does_not_matter(dx, dy):
    assert np.array_equal(fit(stroke(100, 100, shift=(dx, dy))), fit(stroke(100, 100)))


@given(dx=st.floats(-8, 8), dy=st.floats(-8, 8), scale=st.floats(0.7, 1.3))
def test_nor_how_large_it_was(dx, dy, scale):
    assert alike(fit(stroke(120, 120, shift=(dx, dy), scale=scale)), fit(stroke(120, 120))) > 0.85


@given(ink=st.integers(120, 255), ground=st.integers(0, 60))
def test_nor_how_bright(ink, ground):
    assert np.abs(fit(stroke(60, 60, ink, ground)) - fit(stroke(60, 60))).mean() < 4


@given(
    width=st.integers(1, 40), height=st.integers(1, 40), seed=st.integers(0, 999), size=st.sampled_from([8, 28, 32, 96])
)
def test_no_picture_is_too_odd(width, height, seed, size):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    fit(Image.fromarray(noise), size)


@pytest.mark.parametrize("grey", [0, 100, 255])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
def test_a_blank_picture_stays_blank(size, grey):
    assert fit(Image.new("L", size, grey)).max() == 0
    speckled = Image.new("L", size, grey)
    speckled.putpixel((0, 0), min(255, grey + 10) if grey < 255 else 245)  # what a scanner makes of white paper
    assert fit(speckled).max() == 0


def in_mode(mode: str) -> Image.Image:
    """The same stroke, black on white or on nothing, in another mode."""
    dark = stroke(60, 60, 0, 255)
    match mode:
        case "RGBA-transparent":
            clear = Image.new("RGBA", dark.size, (0, 0, 0, 0))
            clear.putalpha(ImageOps.invert(dark))  # black ink, and black where it is transparent
            return clear
        case "P-transparent":
            picture = dark.convert("P")
            picture.info["transparency"] = 255
            return picture
        case "LA":
            picture = Image.new("LA", dark.size, (0, 0))
            picture.putalpha(ImageOps.invert(dark))
            return picture
        case "I;16":
            return Image.fromarray(np.asarray(dark).astype(np.uint16) * 257)
        case "I":
            return Image.fromarray(np.asarray(dark).astype(np.int32) * 257)
        case "F":
            return Image.fromarray(np.asarray(dark).astype(np.float32) / 255)
        case _:
            return dark.convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "P", "P-transparent", "RGB", "RGBA", "RGBA-transparent", "CMYK", "YCbCr", "HSV", "I;16", "I"],
)
def test_every_mode_of_a_file_shows_the_same(mode):
    values = fit(in_mode(mode))
    assert_laid_out(values)
    assert alike(values, fit(in_mode("L"))) > 0.97


def test_colour_is_kept_where_the_network_reads_colour():
    picture = Image.new("RGB", (40, 30), (200, 10, 60))
    fitted = fit_picture(picture, 16, "RGB", "cover")
    assert fitted.shape == (3, 16, 16)
    assert [int(channel.mean()) for channel in fitted] == [200, 10, 60]
    grey = fit(ImageOps.colorize(stroke(60, 60), (0, 0, 160), (255, 220, 0)))  # yellow on blue
    assert alike(grey, fit(stroke(60, 60))) > 0.97


def test_cover_scales_and_keeps_the_middle():
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("green", (100, 0, 200, 100))
    fitted = fit_picture(picture, 32, "RGB", "cover")
    assert fitted[0].max() < 60
    assert fitted[1].min() > 100


def test_a_photograph_on_its_side_is_put_upright(tmp_path):
    picture = stroke(60, 80)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.png", exif=exif)
    assert np.array_equal(fit(read_picture(tmp_path / "sideways.png")), fit(picture))


def test_mnist_is_left_as_it_is(shared_data):
    """It is the layout that others are brought to."""
    images = Mnist(str(shared_data / "mnist")).pictures("test").images[:200]
    likeness = [alike(fit(image), np.asarray(image, float)) for image in images]
    assert np.mean(likeness) > 0.75  # a digit whose faint rim is left out grows by a pixel
    shifts = [np.subtract(centre(fit(image)), centre(np.asarray(image, float))) for image in images]
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.8


def test_built_in_digits_land_like_mnist(shared_data):
    ours = np.mean([fit(image) for image in BuiltInDigits().pictures("train").images[:500]], axis=0)
    theirs = np.mean([np.asarray(i, float) for i in Mnist(str(shared_data / "mnist")).pictures("test").images], axis=0)
    assert alike(ours, theirs) > 0.9
