"""Emoji as vector graphics with their names and keywords, drawn at the size that is asked for."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synesthete import seeding
from synesthete.data.found_pairs import FoundPairs, ImageEntry
from synesthete.data.pictures import PictureSource
from synesthete.io import digest, read_json
from synesthete.picture_decoder import MAX_PIXELS, decode_picture
from synesthete.types import InputError

# Unicode's groups of emoji, by number; flags and parts of others (2, 9) are left out.
GROUPS = {
    0: "smiley", 1: "person", 3: "animal or plant", 4: "food", 5: "place", 6: "activity", 7: "object", 8: "symbol",
}  # fmt: skip
HUES = {"red": 0, "orange": 28, "yellow": 48, "green": 125, "blue": 212, "purple": 272, "pink": 325}  # in degrees
NEAR = 32  # degrees around its own hue that are turned with it
LEAST_COLOURED = 0.15  # share of the shape, below which it has no colour of its own
PASTEL = 0.45  # saturation of a coloured background
SKIN_TONES = range(0x1F3FB, 0x1F400)
HOW_TO_GET = "npm pack @iconify-json/fluent-emoji-flat emojibase-data, and unpack both there"


@dataclass(frozen=True, slots=True)
class Svg:
    """A vector graphic that is drawn when it is read.

    body: what stands inside of <svg>, `sides` wide and high. hue: to which its main colour is turned. background: a
    colour's name. size: of the picture, in pixels.
    """

    name: str
    body: str
    sides: tuple[float, float]
    size: int = 64
    hue: str | None = None
    background: str | None = None

    def stamp(self) -> str:
        """All that decides the picture."""
        return digest([self.body, self.sides, self.size, self.hue, self.background])

    def read(self, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The picture, opaque where there is a background."""
        picture = draw_svg(self.body, self.sides, self.size, self.name)
        if self.hue is not None and (main := main_hue(picture)) is not None:
            picture = turned(picture, main, HUES[self.hue])
        if self.background is None:
            return picture
        red, green, blue = (round(255 * part) for part in hsv_to_rgb(HUES[self.background] / 360, PASTEL, 1.0))
        return Image.alpha_composite(Image.new("RGBA", picture.size, (red, green, blue)), picture).convert("RGB")


def draw_svg(body: str, sides: tuple[float, float], size: int, name: str) -> Image.Image:
    """A graphic as RGBA. As `Svg.read`."""
    try:
        import resvg_py
    except ImportError:
        raise InputError("emoji are drawn by resvg_py; pip install synesthete[emoji]") from None
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {sides[0]:g} {sides[1]:g}">{body}</svg>'
    try:
        encoded = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True))
    except ValueError as error:
        raise InputError(f"{name}: cannot be drawn ({' '.join(str(error).split())}); leave it out") from None
    picture = decode_picture(io.BytesIO(encoded), name).convert("RGBA")
    if not np.asarray(picture.getchannel("A")).any():
        raise InputError(f"{name}: nothing to be seen on it; leave it out")
    return picture


def main_hue(picture: Image.Image) -> float | None:
    """The hue that most of an RGBA picture's coloured pixels are near, in degrees; None where few have any colour."""
    hue, saturation, value, alpha = channels(picture)
    is_coloured = (saturation > 0.35) & (value > 0.35) & (alpha > 0.5)
    if is_coloured.sum() < LEAST_COLOURED * (alpha > 0.5).sum():
        return None
    counts = np.bincount((hue[is_coloured] // 10).astype(int) % 36, minlength=36)
    return 10.0 * float((counts + np.roll(counts, 1) + np.roll(counts, -1)).argmax()) + 5


def turned(picture: Image.Image, main: float, hue: float) -> Image.Image:
    """The RGBA picture with whatever is near its main hue moved to another; the rest keeps its colour."""
    own = channels(picture)[0]
    away = (own - main + 180) % 360 - 180
    moved = np.where(np.abs(away) <= NEAR, (away / 2 + hue) % 360, own)
    _, saturation, value = picture.convert("RGB").convert("HSV").split()
    hues = Image.fromarray((moved / 360 * 255).astype(np.uint8))
    whole = Image.merge("HSV", (hues, saturation, value)).convert("RGB")
    whole.putalpha(picture.getchannel("A"))
    return whole


def channels(picture: Image.Image) -> tuple[np.ndarray, ...]:
    """Hue in degrees, saturation, value and alpha from 0 to 1 of an RGBA picture, (H, W) each."""
    hue, saturation, value = (np.asarray(part, float) / 255 for part in picture.convert("RGB").convert("HSV").split())
    return hue * 360, saturation, value, np.asarray(picture.getchannel("A"), float) / 255


@lru_cache(maxsize=4)
def read_emoji(folder: str) -> list[dict[str, Any]]:
    """Every emoji of a folder's icon sets, without skin tones, as emojibase has it, and `code`, `svg`, `colour`."""
    sets = [path.parent for path in sorted(Path(folder).rglob("icons.json")) if (path.parent / "chars.json").is_file()]
    names = next(iter(sorted(Path(folder).rglob("en/data.json"))), None)
    if not sets or names is None:
        raise InputError(f"{folder}: no {'names (en/data.json)' if sets else 'icons.json'} in it; {HOW_TO_GET}")
    try:
        told = {code_of(one["hexcode"]): one for one in read_json(names)}
        found = []
        for one in sets:
            icons, codes = read_json(one / "icons.json"), read_json(one / "chars.json")
            sides = float(icons.get("width", 16)), float(icons.get("height", 16))
            for code, icon in sorted(codes.items()):
                entry = told.get(code_of(code))
                is_toned = any(int(part, 16) in SKIN_TONES for part in code.split("-"))
                if is_toned or entry is None or entry.get("group") not in GROUPS or icon not in icons["icons"]:
                    continue
                svg = Svg(f"{one.name} {icon}", icons["icons"][icon]["body"], sides)
                found.append(entry | {"code": code_of(code), "svg": svg, "colour": find_colour(svg)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder}: icons.json, chars.json or data.json damaged; {HOW_TO_GET}") from None
    return found


def code_of(code: str) -> str:
    """The characters of an emoji, without what only says that it is to be shown in colour."""
    return re.sub("-fe0f", "", code.lower())


def find_colour(svg: Svg) -> str | None:
    """The name of a graphic's main colour; None where it has none, or cannot be drawn, which is said elsewhere."""
    try:
        hue = main_hue(draw_svg(svg.body, svg.sides, 24, svg.name))
    except InputError:
        return None
    return None if hue is None else min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


class Emoji(PictureSource):
    """Emoji from icon sets in Iconify's format, with the names and keywords of emojibase as captions.

    Each is there on white; where it has a colour of its own and is no person, once more in another, and every other one
    on a coloured background, each told in its captions. Held out are emoji with names of several words that others
    have, too, as many of each group, with all that is made of them. No skin tones, no flags.

    Args:
        path: the folder into which the packages were unpacked; None gives no pictures. num_test: emoji held out.
        size: of the pictures, in pixels. never: "COLOUR NAME" that is not to be made, so that it can be asked for.
    """

    def __init__(
        self, path: str | None = None, num_test: int = 200, size: int = 64, never: tuple[str, ...] = ()
    ) -> None:
        self.path, self.num_test, self.size, self.never = path, num_test, size, never

    def listing(self) -> FoundPairs:
        """All pictures, the captions of each a line of its text."""
        if self.path is None:
            return FoundPairs()
        emoji = read_emoji(self.path)
        held_out = draw_held_out(emoji, self.num_test)
        return FoundPairs([entry for one in emoji for entry in self._entries(one, one["code"] in held_out)])

    def _entries(self, one: dict[str, Any], is_held_out: bool) -> Iterator[ImageEntry]:
        """The pictures that are made of an emoji."""
        group, split = GROUPS[one["group"]], "test" if is_held_out else "train"
        label, draw = one["label"].lower(), seeding.derive(0, "emoji", one["code"])
        colour = None if group == GROUPS[1] else one["colour"]  # people have that of their skin

        def entry(texts: Sequence[str], **how: str) -> ImageEntry:
            svg = Svg(" ".join([one["svg"].name, *how.values()]), one["svg"].body, one["svg"].sides, self.size, **how)
            return ImageEntry(svg, group, svg.name, split, "\n".join(texts))

        coloured = [f"{colour} {uncoloured(label)}"] if colour else [label]
        yield entry([label, with_article(label), *coloured, *keyed(label, one.get("tags") or [], draw)])
        if is_held_out:
            return
        others = [name for name in HUES if name != colour]
        if colour and f"{(chosen := others[draw % len(others)])} {label}" not in self.never:
            bare = uncoloured(label)
            tags = [tag for tag in one.get("tags") or [] if tag not in HUES]
            told = f"{chosen} {bare}"
            yield entry([told, with_article(told), *keyed(told, tags, draw)], hue=chosen)
        if draw // len(others) % 2:
            behind = [*HUES][draw // 2 // len(others) % len(HUES)]
            yield entry(
                [f"{label} on {behind}", f"{with_article(label)} on {with_article(behind)} background"],
                background=behind,
            )


def draw_held_out(emoji: Sequence[dict[str, Any]], num: int) -> set[str]:
    """The codes of up to `num` emoji, as many of each group, whose words, two at least, are in names that stay."""
    named = {one["code"]: (one["group"], set(re.findall(r"\w+", one["label"].lower()))) for one in emoji}
    left, taken = Counter(word for _, words in named.values() for word in words), Counter[int]()
    held_out: set[str] = set()
    for code in sorted(named, key=lambda code: seeding.derive(0, "held out", code)):
        group, words = named[code]
        fits = len(words) > 1 and all(left[word] > 1 for word in words)
        if fits and len(held_out) < num and taken[group] < num / (len(GROUPS) - 2):
            held_out.add(code)
            taken[group] += 1
            left.subtract(words)
    return held_out


def keyed(label: str, tags: Sequence[str], draw: int) -> list[str]:
    """Captions with keywords: the name and one, one and the name, two or three of them alone."""
    order = np.random.default_rng(draw).permutation(len(tags))
    drawn = [tags[place] for place in order] or [label]
    return [f"{label} {drawn[0]}", f"{drawn[-1]} {label}", " ".join(drawn[:2]), " ".join(drawn[-3:])]


def with_article(thing: str) -> str:
    """`a cat`, `an apple`."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def uncoloured(label: str) -> str:
    """A name without the colours in it."""
    return " ".join(word for word in label.split() if word not in HUES) or label
