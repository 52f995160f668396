"""Captions tell how a picture looks, and nothing of its class."""

from __future__ import annotations

import pytest
import torch

from synesthete.data.captions import Captions, measure_look, names_class, spell
from synesthete.types import InputError


def shades(num, low, high):
    return torch.linspace(low, high, num).round().to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)


def test_a_look_is_as_frequent_in_every_class():
    """Black cats and white dogs: the words are of the class's own thirds, so they do not tell cats from dogs."""
    pictures = torch.cat([shades(30, 0, 60), shades(30, 150, 255)])
    labels = torch.arange(60) // 30
    captions = Captions(("a {light} picture", "a picture"), ("cat", "dog")).fit(pictures, labels)
    chosen = captions.choose(pictures, labels)
    assert captions.texts == ("a dark picture", "a medium picture", "a bright picture", "a picture")
    for label in (0, 1):
        assert torch.bincount(chosen[labels == label, 0], minlength=3).tolist() == [10, 10, 10]
    assert chosen[0, 0] == chosen[30, 0] == 0
    assert chosen[29, 0] == chosen[59, 0] == 2
    assert (chosen[:, 1] == 3).all()
    unseen = captions.choose(shades(1, 255, 255), torch.tensor([0]))
    assert captions.texts[unseen[0, 0]] == "a bright picture"


def test_looks_are_measured():
    stroke = torch.zeros(2, 1, 9, 9, dtype=torch.uint8)
    for row in range(9):
        stroke[0, 0, row, 8 - row] = 255  # like a slash
        stroke[1, 0, row, row] = 255
    assert measure_look("lean", stroke).tolist() == pytest.approx([1, -1])
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 0] = 255
    assert measure_look("warmth", red).item() == 1
    assert measure_look("warmth", red.flip(1)).item() == -1
    assert measure_look("weight", red).item() == pytest.approx(1 / 3)
    assert len(measure_look("light", red[:0])) == 0


def test_grey_pictures_are_neither_warm_nor_cold():
    grey = shades(9, 10, 90)[:, :1]
    captions = Captions(("{warmth}",), ("a",)).fit(grey, torch.zeros(9, dtype=torch.int64))
    assert {captions.texts[i] for i in captions.choose(grey, torch.zeros(9, dtype=torch.int64)).flatten()} == {
        "neutral"
    }


def test_every_caption_that_can_come_out_is_spelt():
    assert spell(("a {class} at night",), ("sea_waves", "dog")) == ("a sea waves at night", "a dog at night")
    assert len(spell(("{light} {lean}", "{lean} {light}", "x"))) == 9 + 9 + 1
    with pytest.raises(InputError, match="no class names"):
        spell(("a {class}",))


@pytest.mark.parametrize("template", ["a {colour} thing", "a {light thing", "a {} thing", "{light!r}"])
def test_braces_that_are_no_look_are_refused(template):
    with pytest.raises(InputError, match="in braces there may be light, weight, warmth, lean and class") as caught:
        spell((template,))
    assert "\n" not in str(caught.value)


def test_a_caption_that_names_the_class_is_found():
    assert names_class("A scene with dog barking sound", "dog_barking")
    assert not names_class("a hotdog stand", "dog")
    assert names_class("the number seven", "seven")
