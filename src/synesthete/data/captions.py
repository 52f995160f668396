"""Captions of pictures that tell how a picture looks, and not of what class it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Rows

__all__ = ["Captions"]

# What a template may have in braces, and its words from the least third of a class's pictures to the greatest.
LOOKS: dict[str, tuple[str, str, str]] = {
    "light": ("dark", "medium", "bright"),
    "weight": ("thin", "medium", "bold"),
    "warmth": ("cold", "neutral", "warm"),
    "lean": ("backward", "upright", "forward"),
}
CLASS = "class"
BATCH = 32  # pictures that are measured at once


class Captions:
    """Templates and the words that fill them for a picture.

    A look is measured in the picture, and its word tells in which third of its own class that lies: so each word is as
    frequent in every class, and says nothing of the class.

    Args:
        templates: captions with names of `LOOKS` in braces, or {class}: "a {weight} handwritten digit".

    Attributes:
        texts: every caption that can come out, in the order of their numbers.

    Raises:
        InputError: a name in braces that is no look.
    """

    def __init__(self, templates: Sequence[str], class_names: Sequence[str]) -> None:
        self.templates, self.class_names = tuple(templates), tuple(class_names)
        self.texts = spell(templates, class_names)
        self.fields = [names_in(template) for template in templates]
        self._numbers = {text: number for number, text in enumerate(self.texts)}
        self._thirds: dict[str, Tensor] = {}

    def fit(self, pictures: Tensor | Rows, labels: Tensor) -> Captions:
        """Measure where the thirds of each class lie, on pictures (n, C, H, W) uint8 with labels (n,)."""
        for name in self._looks():
            values = measure_look(name, pictures)
            whole = thirds(values)
            self._thirds[name] = torch.stack(
                [
                    thirds(own) if len(own := values[labels == label]) else whole
                    for label in range(len(self.class_names))
                ]
            )  # (classes, 2)
        return self

    def choose(self, pictures: Tensor | Rows, labels: Tensor) -> Tensor:
        """The numbers (n, templates) of each picture's captions."""
        filled: dict[str, list[str]] = {CLASS: [spoken(self.class_names[label]) for label in labels.tolist()]}
        for name in self._looks():
            bounds = self._thirds[name][labels]  # (n, 2)
            third = (measure_look(name, pictures)[:, None] > bounds).sum(dim=1)
            filled[name] = [LOOKS[name][place] for place in third.tolist()]
        return torch.tensor(
            [
                [
                    self._numbers[template.format(**{name: filled[name][row] for name in fields})]
                    for template, fields in zip(self.templates, self.fields, strict=True)
                ]
                for row in range(len(labels))
            ],
            dtype=torch.int64,
        ).reshape(len(labels), len(self.templates))

    def _looks(self) -> list[str]:
        return sorted({name for fields in self.fields for name in fields} - {CLASS})


def spell(templates: Iterable[str], class_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Every caption that templates can become, each once: what a text encoder of one's own has to know."""
    found: dict[str, None] = {}
    for template in templates:
        fields = names_in(template)
        if CLASS in fields and not class_names:
            raise InputError(f"caption {template!r}: no class names for its {{class}}; give them")
        words = [LOOKS[name] if name != CLASS else [spoken(c) for c in class_names] for name in fields]
        for chosen in itertools.product(*words):
            found[template.format(**dict(zip(fields, chosen, strict=True)))] = None
    return tuple(found)


def names_in(template: str) -> list[str]:
    """The names in a template's braces, each once."""
    fields = list(dict.fromkeys(re.findall(r"\{(\w*)\}", template)))
    unknown = [name for name in fields if name not in (*LOOKS, CLASS)]
    if unknown or re.search(r"[{}]", re.sub(r"\{\w*\}", "", template)):
        raise InputError(
            f"caption {template!r}: in braces there may be {', '.join(LOOKS)} and {CLASS}; mend data.captions"
        )
    return fields


def names_class(caption: str, class_name: str) -> bool:
    """Whether a caption holds every word of a class's name."""
    return set(words(spoken(class_name))) <= set(words(caption))


def spoken(class_name: str) -> str:
    """A class's name as people write it."""
    return class_name.replace("_", " ")


def words(text: str) -> list[str]:
    """The words of a text in small letters."""
    return re.findall(r"\w+", text.lower())


def measure_look(name: str, pictures: Tensor | Rows) -> Tensor:
    """One look of pictures (n, C, H, W) uint8, as a number each (n,).

    light and weight: the mean. warmth: the mean of red less that of blue. lean: how far the bright parts lean to the
    right towards the top, from their second moments.
    """
    parts = torch.arange(len(pictures)).split(BATCH)
    return torch.cat([torch.zeros(0), *(measured(name, pictures[places].float() / 255) for places in parts)])


def measured(name: str, pictures: Tensor) -> Tensor:
    """As `measure`, of pictures in [0, 1]."""
    if name == "warmth":
        return (pictures[:, 0] - pictures[:, -1]).mean(dim=(1, 2))
    level = pictures.mean(dim=1)  # (n, H, W)
    if name != "lean":
        return level.mean(dim=(1, 2))
    down, right = (torch.arange(size, dtype=torch.float32) for size in level.shape[1:])
    total = level.sum(dim=(1, 2)).clamp(min=1e-6)
    y = down[:, None] - ((level * down[:, None]).sum(dim=(1, 2)) / total)[:, None, None]
    x = right - ((level * right).sum(dim=(1, 2)) / total)[:, None, None]
    height = (level * y.square()).sum(dim=(1, 2)).clamp(min=1e-6)
    return -(level * x * y).sum(dim=(1, 2)) / height


def thirds(values: Tensor) -> Tensor:
    """The two numbers (2,) between which the middle third of values (n,) lies; equal ones are all in the middle."""
    least, most = torch.quantile(values, torch.tensor([1 / 3, 2 / 3])).tolist()
    if least == most:
        return torch.tensor([float("-inf"), float("inf")])
    return torch.tensor([least, most])
