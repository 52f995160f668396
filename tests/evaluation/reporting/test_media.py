"""Sheets of pictures: every picture in its place, large enough to see, with its names beside it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from synesthete.evaluation.reporting import media as sheets
from synesthete.evaluation.reporting.media import draw_sheet, encode_gif, encode_png, shortened, text_width, wrap

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def square(colour, size=8):
    return Image.new("RGB", (size, size), colour)


def places(image, colour):
    """The box of all pixels of a colour."""
    mask = Image.new("1", image.size)
    mask.putdata([pixel == colour for pixel in image.getdata()])
    return mask.getbbox()


@pytest.mark.parametrize(("size", "shown"), [(8, 64), (32, 64), (48, 96), (96, 96)])
def test_small_pictures_are_enlarged_by_whole_pixels(size, shown):
    left, top, right, bottom = places(draw_sheet([[square(RED, size)]], ["row"], ["column"]), RED)
    assert (right - left, bottom - top) == (shown, shown)


def test_pixels_stay_squares():
    checked = Image.new("RGB", (8, 8), RED)
    checked.putpixel((3, 5), BLUE)
    left, top, right, bottom = places(draw_sheet([[checked]], [""]), BLUE)
    assert (right - left, bottom - top) == (8, 8)


def test_every_picture_is_in_its_row_and_column_and_none_leaves_white():
    sheet = draw_sheet([[square(RED), square(GREEN)], [None, square(BLUE)]], ["a", "b"], ["c", "d"])
    red, green, blue = (places(sheet, colour) for colour in (RED, GREEN, BLUE))
    assert red[1] == green[1] < blue[1]
    assert red[0] < green[0] == blue[0]
    assert sheet.getpixel((red[0] + 10, blue[1] + 10)) == (255, 255, 255)


def test_names_stand_beside_what_they_name():
    plain = draw_sheet([[square(RED)]], [""])
    named = draw_sheet([[square(RED)]], ["automobile"], ["ship"], title="a title", captions=[["0.123"]])
    box, moved = places(plain, RED), places(named, RED)
    assert moved[0] - box[0] >= text_width("automobile")
    assert moved[1] - box[1] >= 30  # title and column name above
    assert named.height - moved[3] > plain.height - box[3]  # the caption below
    above = named.crop((moved[0], 0, moved[2], moved[1])).convert("L")
    beside = named.crop((0, moved[1], moved[0], moved[3])).convert("L")
    below = named.crop((moved[0], moved[3], moved[2], named.height)).convert("L")
    assert all(min(part.getdata()) < 130 for part in (above, beside, below))


def test_a_title_wider_than_the_pictures_is_not_cut():
    title = "a title that is much wider than one picture of eight by eight pixels"
    assert draw_sheet([[square(RED)]], [""], title=title).width >= text_width(title, sheets.TITLE)


def test_long_names_are_wrapped_and_long_words_end_in_dots():
    lines = wrap("German short-haired pointer", 80)
    assert " ".join(lines) == "German short-haired pointer"
    assert len(lines) == 3
    assert all(text_width(line) <= 80 for line in lines)
    short = shortened("Donaudampfschifffahrtsgesellschaft", 64)
    assert short.startswith("Donau")
    assert short.endswith("…")
    assert text_width(short) <= 64
    assert shortened("dog", 64) == "dog"
    assert wrap("", 64) == []


def test_png_keeps_every_pixel():
    with Image.open(io.BytesIO(encode_png(square(GREEN)))) as image:
        assert (image.format, image.getpixel((0, 0))) == ("PNG", GREEN)


def test_a_gif_plays_its_frames_in_order_and_waits_at_both_ends():
    content = encode_gif([square(RED), square(GREEN), square(BLUE)], milliseconds=100, hold=900)
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 3, 0)
        found = []
        for i in range(3):
            image.seek(i)
            found.append((image.convert("RGB").getpixel((4, 4)), image.info["duration"]))
    assert found == [(RED, 900), (GREEN, 100), (BLUE, 900)]
