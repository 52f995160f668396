"""Files of pictures, of every kind and none: one decoder, whose pictures are of 8 bits a channel and upright."""

from __future__ import annotations

import io
import random
import shutil
import stat
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from synesthete import picture_decoder
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.pictures import fit_picture
from synesthete.data.picture import read_picture
from synesthete.picture_decoder import as_shown, decode_picture, to_8_bits
from synesthete.types import InputError

SIZE = 16
RAMP = np.arange(256, dtype=np.uint8).reshape(SIZE, SIZE)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def decode(content: bytes, **options) -> np.ndarray:
    return np.asarray(decode_picture(io.BytesIO(content), "a.png", **options))


def refused(content: bytes, said: str, **options) -> None:
    with pytest.raises(InputError, match=said) as caught:
        decode(content, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("a.png: ")


def in_both(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """As a codec and as a network see a picture."""
    codec = PixelCodec(size=SIZE, channels=1).preprocess([image])[0].numpy()
    return codec, fit_picture(image, SIZE, "L", "cover")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_greys_of_more_than_8_bits_are_scaled_by_what_they_hold(kind, bits):
    full = 2**bits - 1
    image = Image.fromarray(np.round(RAMP / 255 * full).astype(np.uint16))
    found = decode(encoded(image, kind))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - RAMP).max() <= 1
    for seen in in_both(image):
        assert np.array_equal(seen[0], found)


def test_greys_of_16_bits_are_divided_by_257():
    """As networks have always read them."""
    values = np.random.default_rng(0).integers(0, 2**16, (SIZE, SIZE), dtype=np.uint16)
    values[0, 0] = 2**15
    assert np.array_equal(decode(encoded(Image.fromarray(values), "PNG")), values // 257)


@pytest.mark.parametrize(
    ("least", "greatest"), [(0, 1), (0, 255), (0, 65535), (-1, 1), (0, 1.02), (-0.01, 1.0), (0, 0.003), (-1000, 3000)]
)
def test_floats_and_signed_greys_are_scaled_by_what_they_hold(least, greatest):
    values = (RAMP / np.float32(255) * np.float32(greatest - least) + np.float32(least)).astype(np.float32)
    kinds = [values] if greatest - least < 255 else [values, values.round().astype(np.int32)]
    for kind in kinds:
        image = Image.fromarray(kind)
        found = decode(encoded(image, "TIFF"))
        assert np.abs(found.astype(int) - RAMP).max() <= 1, kind.dtype
        for seen in in_both(image):
            assert np.array_equal(seen[0], found)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(value):
    values = np.ones((4, 4), np.float32)
    values[1, 2] = value
    refused(encoded(Image.fromarray(values), "TIFF"), "NaN or infinite pixels")


def png_of_16_bits(values: np.ndarray) -> bytes:
    """(H, W, C) uint16, which Pillow does not write; C: 2 grey and alpha, 3 RGB, 4 RGBA."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_in_the_lower_bits_of_16_are_refused_and_others_are_not(channels):
    values = np.repeat(RAMP[..., None].astype(np.uint16) * 257, channels, axis=2)
    assert np.array_equal(decode(png_of_16_bits(values))[..., 0], RAMP)
    refused(png_of_16_bits(values >> 4), "colours of 16 bits of which the upper are not used")
    assert decode(png_of_16_bits(values * 0)).max() == 0  # black is black


def test_lab_is_shown_in_its_colours():
    lab = np.zeros((4, 4, 3), np.uint8)
    for place, value in {0: (53 * 255 // 100, 80, 67), 1: (255, 0, 0), 2: (0, 0, 0)}.items():
        lab[place] = value
    image = Image.frombytes("LAB", (4, 4), lab.tobytes())
    found = decode(encoded(image, "TIFF"))
    assert found.shape == (4, 4, 3)
    assert np.abs(found[0, 0].astype(int) - (255, 0, 0)).max() < 25  # red
    assert found[1].min() > 245 and found[2].max() < 10
    for seen in in_both(image):
        assert seen.shape == (1, SIZE, SIZE)


def with_exif(exif: bytes, kind: str = "JPEG") -> bytes:
    image = Image.new("RGB", (24, 16), "navy")
    image.paste("white", (0, 0, 8, 16))
    return encoded(image, kind, exif=exif)


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_read_says_nothing(kind):
    whole = orientation(6)
    assert as_shown(decode_picture(io.BytesIO(with_exif(whole, kind)), "a")).size == (16, 24)
    draw = random.Random(0)
    broken = [b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", whole[:-6], b"junk"]
    broken += [bytes(b if draw.random() > 0.2 else draw.randrange(256) for b in whole) for _ in range(100)]
    for exif in broken:
        image = as_shown(decode_picture(io.BytesIO(with_exif(exif, kind)), "a"))
        assert set(image.size) == {16, 24}
        assert PixelCodec(size=SIZE).preprocess([image]).shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_once_as_its_exif_say(turn):
    from PIL import ImageOps

    content = with_exif(orientation(turn))
    image = as_shown(decode_picture(io.BytesIO(content), "a"))
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(np.asarray(image), np.asarray(ImageOps.exif_transpose(opened)))
    assert np.array_equal(np.asarray(as_shown(image)), np.asarray(image))


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "MPO"]
)
def test_formats_are_told_by_content_whatever_the_name(tmp_path, kind):
    if (kind not in Image.SAVE and not picture_decoder.known_formats()) or kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RAMP).convert("RGB"), kind))
    found = np.asarray(read_picture(tmp_path / "a.png").convert("L")).astype(int)
    assert np.abs(found - RAMP).mean() < 12


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animated_file_the_first_picture_is_read(tmp_path, kind):
    path = tmp_path / f"moving.{kind.lower()}"
    first, *others = (Image.new("RGBA", (6, 4), colour) for colour in ("red", "blue", (0, 0, 0, 0)))
    first.save(path, kind, save_all=True, append_images=others, duration=40, lossless=True)
    with Image.open(path) as opened:
        assert opened.n_frames == 3
    read = read_picture(path)
    assert (read.size, read.convert("RGB").getpixel((3, 2))) == ((6, 4), (255, 0, 0))


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 16 16
%%EndComments
(made) (w) file closefile
showpage
%%EOF
"""


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg"])
def test_postscript_runs_at_no_door(tmp_path, monkeypatch, name):
    """A Ghostscript that says when it is called stands first on the PATH."""
    called = tmp_path / "called"
    for program in ("gs", "gswin64c", "magick", "convert"):
        (tmp_path / program).write_text(f"#!/bin/sh\ntouch {called}\n")
        (tmp_path / program).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    assert shutil.which("gs") == str(tmp_path / "gs")
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match=f"{name}: its content is no picture that is read"):
        read_picture(tmp_path / name)
    with Image.open(tmp_path / name) as opened, pytest.raises(InputError, match="PostScript"):
        PixelCodec(size=SIZE).preprocess([opened])  # opened by somebody else
    assert not called.exists()


def test_the_size_is_asked_for_before_anything_is_decoded(monkeypatch):
    content = encoded(Image.new("L", (200, 100)), "PNG")
    assert decode(content, max_pixels=20_000).shape == (100, 200)

    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    refused(content, "over 19,999 pixels; make it smaller, or raise data.max_pixels", max_pixels=19_999)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (12_000, 9_000), (60_000, 60_000)])
def test_a_header_that_promises_too_much_is_refused(width, height):
    """Below and above what Pillow itself warns of and refuses."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    refused(bytes(content), "over 100,000,000 pixels")


def test_noise_and_cut_files_are_one_line_each():
    draw = random.Random(1)
    whole = [encoded(Image.fromarray(RAMP), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "TGA")]
    for content in whole:
        for _ in range(60):
            spoilt = bytearray(content[: draw.randrange(len(content))])
            for _ in range(draw.randrange(6)):
                spoilt[draw.randrange(len(spoilt) or 1) : 1] = bytes([draw.randrange(256)])
            try:
                decode(bytes(spoilt))
            except InputError as error:
                assert "\n" not in str(error)


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such file"):
        read_picture(tmp_path / "a.png")


def test_pictures_of_8_bits_are_as_they_were():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        image = Image.fromarray(RAMP).convert(mode)
        assert to_8_bits(image) is image
