"""A fifth system in one file: a number in, a picture with so many dots out.

`python examples/dots.py train counted-dots`, then `... draw runs/counted-dots --label three`: every command takes it.
Being of pictures, it inherits nearly all of theirs; `fifth_system.py` beside it writes every part and method itself.
"""

import numpy as np

from synesthete.cli.app import main
from synesthete.config import Recipe, build, register_class
from synesthete.data.files import Split
from synesthete.data.picture import PictureArray
from synesthete.data.pictures import Pictures, PictureSource
from synesthete.recipes import RECIPES, find_recipe
from synesthete.tasks import register
from synesthete.tasks.images.task import Images

COUNTS = ("one", "two", "three", "four")


@register_class
class Dots(PictureSource):
    """Pictures of 16 x 16 with dots at places drawn by chance: `num` of each count to train on, a quarter held out."""

    def __init__(self, num: int = 40) -> None:
        self.num = num

    def pictures(self, split: Split) -> Pictures:
        """Always the same ones."""
        draw, found = np.random.default_rng(split == "test"), Pictures()
        for count, name in enumerate(COUNTS, 1):
            for number in range(self.num if split == "train" else self.num // 4):
                taken = draw.permutation(16).reshape(4, 4) < count
                values = np.kron(taken, np.pad(np.full((3, 3), 255, np.uint8), (0, 1)))
                found.files.append(PictureArray(f"{name} {split} {number}", values))
                found.labels.append(name)
        return found


class CountedDots(Images):
    """Its table of names is all that differs from the system of pictures."""

    name, shipped_model = "counted-dots", ""


def counted_dots() -> Recipe:
    """A number becomes a picture with so many dots; minutes on two cores."""
    recipe = find_recipe("images-digits")
    recipe.name = recipe.task = "counted-dots"
    recipe.data.sources, recipe.data.class_names, recipe.data.num_classifier = (build(Dots),), COUNTS, None
    recipe.codec.size, recipe.denoiser.sample_size = 16, (16, 16)
    recipe.conditioner.num_classes, recipe.stages[0].num_steps = len(COUNTS), 1000
    return recipe


register(CountedDots())
RECIPES["counted-dots"] = counted_dots
if __name__ == "__main__":
    main()
