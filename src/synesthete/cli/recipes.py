"""`synesthete recipes`, `synesthete show` and `synesthete prepare`."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli.options import AsJson, Assignments, RecipeName, finish, progress_bar, say_skipped, skipped_values


def recipes(as_json: AsJson = False) -> None:
    """List the recipes.

    Example: `synesthete recipes`
    """
    from synesthete import hub
    from synesthete.recipes import describe_recipes

    lines, shipped = describe_recipes(), hub.shipped_models()
    width, ships = max(map(len, lines)), "  [model ships with the package]"
    text = [f"{name:<{width}}  {line}{ships * (name in shipped)}" for name, line in lines.items()]
    finish(as_json, {"recipes": lines, "shipped": shipped}, "\n".join(text))


def show(
    recipe: RecipeName,
    assignments: Assignments = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the resolved recipe, to be edited and trained.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Predict memory and time of a training step on this machine (a minute).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a recipe is made of, every field, and what training it needs: steps, memory, disk.

    Examples: `synesthete show image-to-speech-digits`,
    `synesthete show image-to-speech --cost --set stages.denoise.batch_size=32`,
    `synesthete show image-to-speech-digits --set denoiser.depth=6 --yaml > mine.yaml`
    """
    from synesthete.recipes import find_recipe

    found = find_recipe(recipe, assignments or ())
    from synesthete.recipes.fit import build_on_meta  # after a wrong name was said
    from synesthete.recipes.needs import describe_needs, find_needs

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
        from synesthete import hub
        from synesthete.tasks import task_of
        from synesthete.training.cost import predict
        from synesthete.training.published import stand_ins

        hub.cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=hub.cache_folder()) as folder, stand_ins(found, Path(folder)):
            costs = [predict(found, stage, task_of(found).dummy_batch) for stage in found.stages]
        values["cost"] = [{**asdict(one), "bytes": one.memory.total} for one in costs]
        text = "\n".join([text, *map(describe_cost, costs)])
    finish(as_json, values, text)


def prepare(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(help="Folder for corpus and shards; a cache folder by default.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Read, fit and encode a recipe's data once, speech spoken first; run again, it goes on where it stopped.

    Examples: `synesthete prepare image-to-speech-digits`,
    `synesthete prepare image-to-speech-digits --out data/digits --set data.takes=20`
    """
    from synesthete.recipes import find_recipe
    from synesthete.tasks import task_of

    found = find_recipe(recipe, assignments or ())
    task = task_of(found)
    folder = out or task.default_folder(found)
    with progress_bar() as report:
        prepared = task.prepare(found, folder, report)
    values, text = task.describe_prepared(prepared)
    values = {"folder": str(folder), **values, **skipped_values(prepared)}
    finish(as_json, values, f"{folder}: {text}" + say_skipped(prepared.skipped))


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


def describe_cost(cost: Any) -> str:
    """What a step of a stage takes, for people."""
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in asdict(cost.memory).items())
    memory = f"{cost.memory.total / 1e9:.2f} GB ({parts})"
    if cost.seconds is None:
        return f"  a step of {cost.stage} takes {memory}: more than this machine has; raise gradient_accumulation_steps"
    whole = cost.dry_run_batch == cost.micro_batch
    found = "run here" if whole else f"reckoned from {cost.dry_run_batch} of {cost.micro_batch} samples at once"
    return f"  a step of {cost.stage} takes {cost.seconds:.3g} s, {found}, and {memory}"
