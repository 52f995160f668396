"""`synesthete sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli.lists import listed
from synesthete.cli.options import AsJson, Device, ModelName, finish
from synesthete.cli.sample_pictures import NUM, paint
from synesthete.cli.sample_speech import plan_speech, speak
from synesthete.types import InputError


def sample(
    model: ModelName,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PICTURE...]", help="Pictures, or folders of pictures, for a model that speaks."),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(help="Folder for OUT/STEM.wav and OUT/STEM.png, or OUT/LABEL_000.png and OUT/contact_sheet.png."),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="A class by its name or number, for a model that makes pictures; several by commas or given again; "
            "or all.",
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Words of your own, for a model that reads text; may be given several times."),
    ] = None,
    num: Annotated[int | None, typer.Option(help=f"Pictures of each label or prompt; {NUM} by default.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Other seeds give other voices and other pictures.")] = 0,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddpm, ddim, euler, heun, dpmsolver++, dpmsolver++sde or unipc; flow-euler, flow-heun, "
            "flow-dpmsolver++ or flow-unipc for a model of a flow."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of sampling steps.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="1.0 is off; higher follows the condition more; 0.0 does without it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other sampling setting, such as eta=0.5."),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let pictures speak, or draw pictures of labels or words.

    A model that speaks writes a wav and a spectrogram for each picture, and prints the words that its judge hears. A
    model that makes pictures writes LABEL_000.png, LABEL_001.png, ... and a contact sheet; each file tells how it was
    made, and picture 5 of a label is the same whatever else is asked for.

    Examples: `synesthete sample image-to-speech-digits seven.png --out spoken`,
    `synesthete sample runs/mine drawings/ --out spoken --seed 3 --guidance-scale 2`,
    `synesthete sample images-digits --label 7 --num 64 --out drawn`,
    `synesthete sample images-digits --label all --num 4 --sampler ddim --steps 50 --out drawn`,
    `synesthete sample runs/clip --prompt "a photo of a red cat" --out drawn`
    """
    settings = {"sampler": sampler, "num_inference_steps": steps, "guidance_scale": guidance_scale}
    changes = assigned(assignments or [], {k: v for k, v in settings.items() if v is not None})
    found, targets = plan_speech(inputs, out, overwrite) if inputs else ([], [])

    from synesthete.pipeline import Pipeline

    pipeline = Pipeline.load(model, device)
    pipeline.sampling_settings(**changes)
    if hasattr(pipeline.codec, "spec"):
        if given := [f"--{name}" for name, value in (("label", labels), ("prompt", prompts), ("num", num)) if value]:
            raise InputError(f"{model}: a model that speaks, of pictures alone; leave out {' and '.join(given)}")
        if not found:
            raise InputError(f"{model}: a model that speaks; give it pictures, or folders of pictures")
        values, text = speak(pipeline, model, found, targets, out=out, seed=seed, changes=changes)
    else:
        if found:
            reads = "--label, or --prompt where it reads text" if pipeline.is_conditional else "--num alone"
            raise InputError(
                f"{model}: a model that makes pictures, and reads none; instead of {found[0]} give {reads}"
            )
        labels = listed(labels, ["all", *pipeline.class_names])
        values, text = paint(
            pipeline,
            model,
            labels,
            prompts or [],
            out=out,
            num=num or NUM,
            seed=seed,
            changes=changes,
            overwrite=overwrite,
        )
    finish(as_json, values, text)


def assigned(assignments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with `key=value` assignments, values read and checked as a recipe's are."""
    from synesthete.config import Sampling, read_assignment

    checked = Sampling()
    for key, value in [*settings.items(), *map(read_assignment, assignments)]:
        setattr(checked, key, value)
        settings[key] = getattr(checked, key)
    return settings
