"""A model of one's own pictures: a folder a class is looked at, a recipe is made for it and trained, and it draws.

`python examples/own_pictures.py my_pictures` takes yours; without a folder, gradients of two colours are made.
"""

import sys
from pathlib import Path

from PIL import Image

import synesthete
from synesthete import tasks
from synesthete.recipes.proposals import propose
from synesthete.training.loop import train_recipe

OUT = Path("out/own_pictures")


def make_pictures(folder: Path) -> None:
    """Twenty pictures of each of two classes."""
    for channel, name in enumerate(("reddish", "greenish")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(20):
            gradient = Image.linear_gradient("L").resize((24, 24)).rotate(18 * i)
            dark = Image.new("L", gradient.size)
            bands = [gradient if place == channel else dark for place in range(3)]
            Image.merge("RGB", bands).save(folder / name / f"{i}.png")


def main(folder: Path | None = None) -> None:
    """Train in seconds. Without `-debug` in the recipe's name it is the real one, an hour of two cores."""
    if folder is None:
        make_pictures(folder := OUT / "pictures")
    proposals, refused = propose(folder)  # the first is the likeliest; `synesthete new` writes it as a recipe.yaml
    for one in proposals:
        print(f"{one.learns}: {one.found}", refused or "")
    recipe = proposals[0].recipe("images-photos-debug", "own-pictures")
    recipe.set("stages.denoise.num_steps=4")  # as --set does

    prepared = tasks.prepare(recipe, OUT / "data")
    train_recipe(recipe, prepared, OUT / "run", report=lambda said: print(said.step, said.loss))
    drawn = synesthete.load(str(OUT / "run"))(list(prepared.class_names), num=2)
    print([str(path) for path in drawn.save(OUT / "drawn")])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
