"""The few parts of torchvision that peers load pictures with, where torchvision itself is not installed."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

MODULES = ("torchvision", "torchvision.transforms", "torchvision.utils")


class Compose:
    """One step after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, picture: Any) -> Any:
        """The picture after all of them."""
        for transform in self.transforms:
            picture = transform(picture)
        return picture


class Lambda:
    """A function as a step."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, picture: Any) -> Any:
        """What the function makes of it."""
        return self.function(picture)


class Resize:
    """A square of `size` pixels, or two sides; pictures of that size are left as they are."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.sides = (size, size) if isinstance(size, int) else tuple(size)

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The picture at that size."""
        size = (self.sides[1], self.sides[0])
        return picture if picture.size == size else ImageOps.fit(picture, size, Image.Resampling.BILINEAR)


class CenterCrop(Resize):
    """After `Resize` there is nothing left to cut."""


class RandomHorizontalFlip:
    """Half of the pictures mirrored."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The picture, or its mirror image."""
        return ImageOps.mirror(picture) if random.random() < 0.5 else picture


class ToTensor:
    """A picture as (C, H, W) in [0, 1]."""

    def __call__(self, picture: Image.Image) -> Tensor:
        """(C, H, W) float32."""
        values = np.array(picture, dtype=np.uint8)
        return torch.from_numpy(values.reshape(*values.shape[:2], -1)).permute(2, 0, 1).float() / 255


@contextlib.contextmanager
def standing_in() -> Iterator[None]:
    """While the context lasts, `from torchvision import transforms, utils` finds what is here."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    package, transforms, utils = (ModuleType(name) for name in MODULES)
    for step in (Compose, Lambda, Resize, CenterCrop, RandomHorizontalFlip, ToTensor):
        setattr(transforms, step.__name__, step)
    package.transforms, package.utils = transforms, utils  # type: ignore[attr-defined]
    sys.modules.update(zip(MODULES, (package, transforms, utils), strict=True))
    try:
        yield
    finally:
        # Other libraries ask whether torchvision is there: it is not.
        for name in MODULES:
            del sys.modules[name]
