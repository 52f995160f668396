"""`synesthete recipes`, `show`, `new` and `prepare`."""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete import hub
from synesthete.cli import options
from synesthete.config import Recipe
from synesthete.config.document import annotate
from synesthete.io import is_address, write_file
from synesthete.tasks.task import task_of
from synesthete.types import InputError
from synesthete.worklist import standings


def recipes(as_json: options.AsJson = False) -> None:
    """List the recipes.

    Example: `synesthete recipes`
    """
    from synesthete.recipes import describe_recipes

    lines, shipped = describe_recipes(), hub.shipped_models()
    width, ships = max(map(len, lines)), "  [model ships with the package]"
    text = [f"{name:<{width}}  {line}{ships * (name in shipped)}" for name, line in lines.items()]
    options.finish(as_json, {"recipes": lines, "shipped": shipped}, "\n".join(text))


def show(
    recipe: options.RecipeName,
    assignments: options.Assignments = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the resolved recipe, to be edited and trained.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Predict memory and time of a step on this machine (a minute).")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what a recipe is made of, every field, and what training it needs: steps, memory, disk.

    Examples: `synesthete show image-to-speech-digits`,
    `synesthete show image-to-speech --cost --set stages.denoise.batch_size=32`,
    `synesthete show image-to-speech-digits --set denoiser.depth=6 --yaml > mine.yaml`
    """
    from synesthete.recipes import find_recipe

    found = find_recipe(recipe, assignments or ())
    from synesthete.recipes.fit import build_on_meta, describe_needs, find_needs  # after a wrong name was said

    if yaml:
        typer.echo(found.to_yaml(), nl=False)
        return
    counts = count_parameters(found)
    vocoder = build_on_meta(found, "codec", lambda codec: codec.vocoder_in_use)
    needs = find_needs(found)
    values: dict[str, Any] = {"name": found.name, "parameters": counts, "vocoder": vocoder, "needs": asdict(needs)}
    values["recipe"] = found.to_dict()
    text = "\n".join([describe_recipe(found, counts, vocoder), *describe_needs(needs)])
    if cost:
        from synesthete.training.cost import predict
        from synesthete.training.published import stand_ins

        hub.cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=hub.cache_folder()) as folder, stand_ins(found, Path(folder)):
            costs = [predict(found, stage, task_of(found).dummy_batch) for stage in found.stages]
        values["cost"] = [{**asdict(one), "bytes": one.memory.total} for one in costs]
        values["sampling"] = None
        if not assignments and (recipe in hub.shipped_models() or (Path(recipe) / "model" / hub.MODEL_INDEX).is_file()):
            from synesthete.export.model import time_engines
            from synesthete.pipeline import Pipeline

            values["sampling"] = time_engines(Pipeline.load(recipe))
        text = "\n".join([text, *map(describe_cost, costs), describe_engines(values["sampling"])])
    options.finish(as_json, values, text)


def prepare(
    recipe: options.RecipeName = "",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.read_place,
            metavar="PLACE",
            help="Folder for corpus and shards, the cache by default; or an address to put what is trained on at.",
        ),
    ] = None,
    status: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of what is prepared in it: what is done, what failed and why, and left."),
    ] = None,
    on: options.On = "local",
    assignments: options.Assignments = None,
    as_json: options.AsJson = False,
) -> None:
    """Read, fit and encode a recipe's data once, speech spoken first; run again, it goes on where it stopped.

    Examples: `synesthete prepare image-to-speech-digits`,
    `synesthete prepare image-to-speech-digits --out data/digits --set data.takes=20`,
    `synesthete prepare audio-to-image --out /shared/vgg --on ray`, `synesthete prepare --status /shared/vgg`
    """
    if status is not None:
        steps = standings(status)
        values = {"folder": str(status), "steps": [asdict(step) | {"left": step.left} for step in steps]}
        options.finish(as_json, values, "\n".join(map(str, steps)))
        return
    if not recipe:
        raise typer.BadParameter("name one, or give --status FOLDER", param_hint="RECIPE")
    from synesthete.executors import working_on
    from synesthete.recipes import find_recipe

    found = find_recipe(recipe, assignments or ())
    task = task_of(found)
    address, folder = is_address(out), out or task.default_folder(found)
    with working_on(on), options.progress_bar() as report:
        prepared = task.prepare(found, None if address else folder, report)
        if address:
            from synesthete.tasks.preparation import write_prepared

            write_prepared(prepared, found, str(out), report)
    values, text = task.describe_prepared(prepared)
    values = {"folder": str(folder), **values, **options.skipped_values(prepared)}
    options.finish(as_json, values, f"{folder}: {text}" + options.say_skipped(prepared.skipped), [folder])


def count_parameters(recipe: Any) -> dict[str, int]:
    """Parameters of each part, made without memory for them."""
    from synesthete.recipes.fit import build_on_meta

    parts = {name: build_on_meta(recipe, name) for name in ("conditioner", "denoiser")}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def describe_recipe(recipe: Any, counts: dict[str, int], vocoder: str | None = None) -> str:
    """The recipe for people; `vocoder`: what its codec makes sound with on this machine."""
    lines = [f"{recipe.name}: {sum(counts.values()):,} parameters"]
    for name in ("data", "codec", "conditioner", "denoiser", "process"):
        part = getattr(recipe, name)
        size = f"  {counts[name]:,} parameters" if name in counts else ""
        lines.append(f"  {name:<12}{part.target.__name__}{size}")
        lines += [f"      {key} = {value}" for key, value in part.fields.items()]
    for stage in recipe.stages:
        what = f"{stage.objective.target.__name__}, {stage.num_steps} steps of {stage.batch_size}"
        trained = ", ".join(stage.train)
        lines.append(f"  stage {stage.name}: {what}, learning rate {stage.learning_rate:g}, trains {trained}")
    if vocoder:
        lines.append(f"  vocoder     {vocoder}")
    lines.append(f"  sampling    {', '.join(f'{k} = {v}' for k, v in vars(recipe.sampling).items())}")
    return "\n".join(lines)


def describe_engines(seconds: dict[str, float] | None) -> str:
    """What a step of sampling takes by each engine, or how to find out."""
    if seconds is None:
        return "  a step of sampling, by each engine: `synesthete show RUN --cost` says it of a trained model"
    told = ", ".join(f"{took:.3g} s by {engine}" for engine, took in seconds.items())
    fastest = min(seconds, key=lambda engine: seconds[engine])
    advice = f"; --engine {fastest} is the faster one here" if len(seconds) > 1 else "; onnx is not installed"
    return f"  a step of sampling 8 takes {told}{advice}"


def describe_cost(cost: Any) -> str:
    """What a step of a stage takes, for people."""
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(cost.memory).items())
    memory = f"{cost.memory.total / 1e9:.2f} GB ({parts})"
    if cost.seconds is None:
        return f"  a step of {cost.stage} takes {memory}: more than this machine has; raise gradient_accumulation_steps"
    whole = cost.dry_run_batch == cost.micro_batch
    found = "run here" if whole else f"reckoned from {cost.dry_run_batch} of {cost.micro_batch} samples at once"
    return f"  a step of {cost.stage} takes {cost.seconds:.3g} s, {found}, and {memory}"


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
            help="RECIPE to begin with, one of those that fit; the likeliest by default.",
            autocompletion=options.recipe_names,
        ),
    ] = None,
    cost: Annotated[bool, typer.Option(help="Try a step of each stage, to say how long training takes here.")] = True,
    as_json: options.AsJson = False,
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
    options.finish(as_json, values, "\n".join([*lines, head[-1]]), [out])


def time_stages(recipe: Recipe) -> tuple[list[dict[str, Any]], list[str]]:
    """What the training of each stage takes on this machine, as values and for people."""
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
