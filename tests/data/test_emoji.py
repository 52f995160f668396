"""Emoji from icon sets: their captions and splits, what they are turned into, and files that cannot be drawn."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from synesthete.data.emoji import HUES, Emoji, Svg, main_hue, read_emoji
from synesthete.types import InputError

NAMES = {"1f34e": "red apple", "1f34f": "green apple", "1f405": "tiger", "1f42f": "tiger face", "1f436": "dog face"}
COLOURS = {"red apple": "#e02020", "green apple": "#20c020"}


@pytest.fixture
def drawn(monkeypatch):
    """In place of resvg_py: a disc of the colour that the body names, on nothing."""

    def svg_to_bytes(svg_string: str, width: int, height: int, **_: bool) -> bytes:
        body = svg_string.partition(">")[2].removesuffix("</svg>")
        if body == "broken":
            raise ValueError("no\nsvg")
        picture = Image.new("RGBA", (width, height))
        if body != "empty":
            ImageDraw.Draw(picture).ellipse((4, 4, width - 5, height - 5), fill=body)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        return encoded.getvalue()

    monkeypatch.setitem(sys.modules, "resvg_py", SimpleNamespace(svg_to_bytes=svg_to_bytes))
    read_emoji.cache_clear()


@pytest.fixture
def folder(tmp_path):
    """Five emoji, one in another skin tone, and a flag."""
    icons = {name.replace(" ", "-"): {"body": COLOURS.get(name, "#f0a000")} for name in NAMES.values()}
    codes = {code: name.replace(" ", "-") for code, name in NAMES.items()}
    codes |= {"1f34e-1f3fb": "red-apple", "1f3c1": "tiger"}
    told = [{"hexcode": c.upper(), "label": n, "tags": ["thing", "round"], "group": 3} for c, n in NAMES.items()]
    told.append({"hexcode": "1F3C1", "label": "chequered flag", "group": 9})
    (tmp_path / "set").mkdir()
    (tmp_path / "emojibase-data" / "en").mkdir(parents=True)
    for path, values in (
        ("set/icons.json", {"icons": icons, "width": 32, "height": 32}),
        ("set/chars.json", codes),
        ("emojibase-data/en/data.json", told),
    ):
        (tmp_path / path).write_text(json.dumps(values))
    return tmp_path


@pytest.mark.usefixtures("drawn")
def test_an_emoji_is_there_as_it_is_in_another_colour_and_on_one_and_told_so(folder):
    found = Emoji(str(folder), num_test=0).pictures("train")
    assert set(found.labels) == {"animal or plant"} and len(found.texts) == len(found)
    assert found.texts["set red-apple"].splitlines()[:3] == ["red apple", "a red apple", "red apple"]
    hues = [file for file in found.files if file.hue]
    assert len(hues) == len(NAMES) and len(found) == 2 * len(NAMES) + sum(bool(file.background) for file in found.files)
    for file in found.files:
        picture, told = file.read().convert("RGBA"), found.texts[file.name].splitlines()
        assert (picture.getpixel((0, 0))[3] == 255) == (file.background is not None)
        if file.hue:
            assert abs((main_hue(picture) - HUES[file.hue] + 180) % 360 - 180) < 20  # found to ten degrees
            assert told[0].startswith(file.hue)
            assert not {*told[0].split()[1:]} & {*HUES}  # no red apple that is told to be blue
        if file.background:
            assert all(file.background in line for line in told)


@pytest.mark.usefixtures("drawn")
def test_a_colour_that_is_never_to_be_made_is_not(folder):
    made = [file for file in Emoji(str(folder), num_test=0).pictures("train").files if file.hue]
    never = tuple(f"{file.hue} {file.name.split()[1].replace('-', ' ')}" for file in made)
    assert not any(file.hue for file in Emoji(str(folder), num_test=0, never=never).pictures("train").files)


@pytest.mark.usefixtures("drawn")
def test_held_out_are_names_of_words_that_others_have(folder):
    source = Emoji(str(folder), num_test=20)
    held_out, left = ({file.name for file in source.pictures(split).files} for split in ("test", "train"))
    assert held_out == {"set tiger-face"}  # there are another tiger and another face, but no other dog, red or green
    assert not {" ".join(name.split()[:2]) for name in left} & held_out


@pytest.mark.usefixtures("drawn")
def test_graphics_that_cannot_be_drawn_are_named_and_the_others_kept(folder):
    for body, says in (("broken", r"a thing: cannot be drawn \(no svg\)"), ("empty", "a thing: nothing to be seen")):
        with pytest.raises(InputError, match=says):
            Svg("a thing", body, (32, 32)).read()
    path = folder / "set" / "icons.json"
    path.write_text(path.read_text().replace("#e02020", "broken"))
    found = Emoji(str(folder), num_test=0).pictures("train")
    read = {place for place, _ in found.read()}
    assert read == {place for place, file in enumerate(found.files) if file.body != "broken"}
    assert read and found.skipped[0] == "set red-apple"


def test_what_is_missing_is_said(folder, monkeypatch):
    assert not len(Emoji().pictures("train"))
    (folder / "none").mkdir()
    with pytest.raises(InputError, match=r"no icons\.json in it; npm pack"):
        Emoji(str(folder / "none")).listing()
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError, match=r"pip install synesthete\[emoji\]"):
        Svg("thing", "red", (32, 32)).read()
    (folder / "set" / "chars.json").write_text("[1, 2")
    with pytest.raises(InputError, match="damaged"):
        Emoji(str(folder)).listing()
