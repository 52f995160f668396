"""Pictures that need no download, for trials of recipes whose photographs are not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synesthete import seeding
from synesthete.data.picture import PictureArray
from synesthete.data.pictures import Pictures

if TYPE_CHECKING:
    from synesthete.data.pictures import Split


class Swatches:
    """Small noisy pictures, each class with a colour of its own: enough to see that everything runs, and to learn from.

    Args:
        class_names: the classes. num_train, num_test: pictures of each class in a split. size: side in pixels.
    """

    def __init__(self, class_names: tuple[str, ...], num_train: int = 16, num_test: int = 4, size: int = 32) -> None:
        self.class_names, self.num_train, self.num_test, self.size = class_names, num_train, num_test, size

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, drawn anew each time, always the same."""
        found = Pictures()
        for number, name in enumerate(self.class_names):
            colour = np.random.default_rng(seeding.derive(number, "colour")).uniform(40, 215, size=3)
            draw = np.random.default_rng(seeding.derive(number, "swatches", split))
            for i in range(self.num_train if split == "train" else self.num_test):
                values = np.clip(colour + draw.normal(0, 20, (self.size, self.size, 3)), 0, 255).astype(np.uint8)
                found.files.append(PictureArray(f"{split} swatch {i} of {name}", values))
                found.labels.append(name)
        return found
