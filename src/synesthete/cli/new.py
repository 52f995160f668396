"""`synesthete new`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.completion import recipe_names
from synesthete.cli.options import AsJson, finish
from synesthete.cli.recipes import describe_cost
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe

OFTEN = 500  # times that a sample is seen in training, from which on few are there for it
FEW = ": few for so many steps, so add some, or lower num_steps, before they are learned by heart"


def new(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Pictures or sounds in a folder for each class, recordings, scores, videos, or a manifest."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The recipe to write; none is replaced.")] = Path("recipe.yaml"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="RECIPE to begin with, one of those that fit; the likeliest by default.", autocompletion=recipe_names
        ),
    ] = None,
    cost: Annotated[bool, typer.Option(help="Try a step of each stage, to say how long training takes here.")] = True,
    as_json: AsJson = False,
) -> None:
    """Look at a folder of one's own, say what can be trained on it, and write a recipe with the reasons as comments.

    Examples: `synesthete new my_pictures`,
    `synesthete new my_pictures --recipe image-to-speech-photos --out speaking.yaml`,
    `synesthete new recordings --no-cost`
    """
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out}: no recipe's name; give --out one that ends in .yaml")
    if out.exists():
        raise InputError(f"{out}: there already; move it away, or give another --out")
    from synesthete.config.document import annotate
    from synesthete.io import write_file
    from synesthete.recipes.proposals import propose

    proposals, refused = propose(folder)
    chosen = next((one for one in proposals if recipe is None or one.fits(recipe)), None)
    if chosen is None:
        fitting = ", ".join(name for one in proposals for name in one.recipes)
        raise InputError(f"{folder}: nothing in it for --recipe {recipe}; there fit {fitting}")
    begun = recipe or chosen.recipes[0]
    called = re.sub(r"[^\w.-]+", "-", f"{begun}-{folder.resolve().name}")
    made = chosen.recipe(begun, called)
    costs, time = (
        time_stages(made) if cost else ([], ["Not measured how long it takes here; `synesthete show FILE --cost`"])
    )
    stage = made.stages[-1]
    seen = stage.num_steps * stage.batch_size / max(1, chosen.num)
    about = [
        f"{folder}: {chosen.found}",
        f"Begun as {begun}: {chosen.learns}",
        f"Stage {stage.name} shows each of {chosen.num:,} {chosen.unit} to train on about {seen:,.0f} times"
        + (FEW if seen > OFTEN else ""),
        *time,
    ]
    others = [f"{one.learns} (--recipe {one.recipes[0]})" for one in proposals if one is not chosen]
    reasons = {key: why for key, (_, why) in chosen.changes.items()}
    head = [*about, *(f"Or: {other}" for other in others), f"Train it: synesthete train {out}"]
    write_file(out, annotate(made.to_yaml(), reasons, head))
    values = {
        "recipe": str(out), "begun_as": begun, "found": chosen.found, "num_train": chosen.num, "refused": refused,
        "proposals": [{"recipes": one.recipes, "found": one.found, "num_train": one.num} for one in proposals],
        "cost": costs,
    }  # fmt: skip
    lines = [about[0], *about[2:], "What can be learned:", f"  {chosen.learns} ({out}, begun as {begun})"]
    lines += [f"  {line}" for line in others] + [f"  not: {line}" for line in refused]
    finish(as_json, values, "\n".join([*lines, head[-1]]))


def time_stages(recipe: Recipe) -> tuple[list[dict[str, Any]], list[str]]:
    """What the training of each stage takes on this machine, as values and for people."""
    from synesthete.tasks import task_of
    from synesthete.training.cost import predict

    task = task_of(recipe)
    costs = [predict(recipe, stage, task.dummy_batch) for stage in recipe.stages]
    lines = [describe_cost(one).strip() for one in costs]
    if all(one.seconds is not None for one in costs):
        each = zip(costs, recipe.stages, strict=True)
        minutes = sum(one.seconds * stage.num_steps for one, stage in each if one.seconds is not None) / 60
        lines.insert(
            0, f"Training takes about {minutes:.0f} min on this machine as it is now, beside preparing the data"
        )
    return [{**asdict(one), "bytes": one.memory.total} for one in costs], lines
