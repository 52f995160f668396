"""Files of pictures become pictures of 8 bits a channel, upright: the same for every part that sees some."""

from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from synesthete.types import InputError, first_line

# What is decoded. Not PostScript and the like, which Pillow hands to other programs, whatever a file is named.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA")
MAX_PIXELS = 100_000_000  # of a picture, which is refused before it is decoded if it has more
# Pixels of more than 8 bits are in one of these ranges, the least that holds them.
INTEGER_RANGES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
FLOAT_RANGES = ((1 / 16, 1), (64, 255))  # of floats whose greatest is in one of these; else it is their own
DARK = 2**14 >> 8  # high bytes below this hold no more than 14 of 16 bits
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_picture(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in an open file, whole, of 8 bits a channel: the only place where files become pictures."""
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own bound must not be the lower one
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    try:
        with Image.open(file, formats=known_formats()) as image:
            if image.width * image.height > max_pixels:
                raise Image.DecompressionBombError
            is_deep = bool(re.search(";16[BLN]", repr(image.tile)))
            image.load()
            return to_8_bits(image.copy(), name, is_deep)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: its content is no picture that is read; give a PNG, JPEG or WebP file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{name}: over {max_pixels:,} pixels; make it smaller, or raise data.max_pixels (of `speak` --max-pixels)"
        ) from None
    except Exception as error:  # decoders fail in every way that there is
        raise InputError(f"{name}: a damaged picture ({first_line(error)}); replace or remove it") from None


@cache
def known_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow decodes; what it says aside of broken files is silenced from now on."""
    Image.init()
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_8_bits(image: Image.Image, name: str = "picture", is_deep: bool = False) -> Image.Image:
    """A picture of at most 8 bits a channel that converts to grey and RGB; most are so and are returned as they are.

    Grey levels of more bits are scaled by what they hold: 8, 10, 12, 14 or 16 bits, floats from 0 to 1 or to 255, or
    else all from the least to the greatest. is_deep: the file had 16 bits a channel, of which Pillow keeps the upper 8.
    """
    if image.format == "EPS":
        raise InputError(f"{name}: PostScript, which is a program; draw it before, and give the picture")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(upright(image), lab, rgb, outputMode="RGB") or image
    if not image.mode.startswith(("I", "F")):
        colours = np.asarray(image)[..., : len(image.getbands()) - ("A" in image.getbands())] if is_deep else 0
        if is_deep and 0 < np.max(colours) < DARK:
            raise InputError(f"{name}: colours of 16 bits of which the upper are not used; save it with 8")
        return image
    values = np.array(upright(image), dtype=np.float32)
    least, greatest = float(values.min()), float(values.max())
    if not np.isfinite(least + greatest):
        raise InputError(f"{name}: NaN or infinite pixels; mend or remove it")
    if least < 0:
        values -= least
        top = greatest - least
    elif image.mode.startswith("I"):
        top = next((full for full in INTEGER_RANGES if greatest <= full), greatest)
    else:
        top = next((full for low, full in FLOAT_RANGES if low <= greatest <= full), greatest)
    values /= (top or 1) / 255
    values += 1e-4  # what is a whole number but for rounding is that number
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def upright(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data say; data that cannot be read say nothing."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever a camera wrote
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        turned.info.pop(key, None)
    return turned


def as_shown(image: Image.Image) -> Image.Image:
    """A picture from anywhere, a program's own too, as it is to be seen: of 8 bits a channel, and upright."""
    return upright(to_8_bits(image))
