"""`synesthete sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synesthete.cli.heard_request import HeardRequest
from synesthete.cli.lists import listed, numbers
from synesthete.cli.music_request import Asked
from synesthete.cli.options import AsJson, Device, ModelName, finish
from synesthete.cli.sample_heard import NUM as NUM_HEARD
from synesthete.cli.sample_heard import paint_heard
from synesthete.cli.sample_music import NUM as NUM_SOUNDS
from synesthete.cli.sample_music import load_models, play
from synesthete.cli.sample_pictures import NUM, paint
from synesthete.cli.sample_speech import plan_speech, speak
from synesthete.types import InputError


def sample(
    model: ModelName,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="Pictures, or folders of pictures, for a model that speaks; sounds, or folders of sounds, for a model "
            "that paints what it hears.",
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for OUT/STEM.wav and OUT/STEM.png; OUT/LABEL_000.png and OUT/contact_sheet.png; "
            "OUT/000.wav and OUT/000.png; or OUT/STEM.png and OUT/STEM.json."
        ),
    ] = Path("out/sample"),
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="A class by its name or number, for a model that makes pictures or music; several by commas or given "
            "again; or all.",
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Words of your own, for a model that reads text; may be given several times."),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            help=f"Pictures of each label or prompt, {NUM} by default; sounds of each label, {NUM_SOUNDS}; pictures of "
            f"each sound, {NUM_HEARD}.",
            min=1,
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of each sound, of any model that makes music; its own by default.")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="A sound to vary, to mend (--gap) or to go on from.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far --init is varied, above 0 to 1, which keeps nothing; 0.6 by default.")
    ] = None,
    gap: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="START END", help="Seconds of --init to be made anew; the rest stays as it is."),
    ] = None,
    goes_on: Annotated[bool, typer.Option("--continue", help="Go on after --init, up to --seconds in all.")] = False,
    is_loop: Annotated[bool, typer.Option("--loop", help="Music whose end meets its beginning.")] = False,
    upsampler: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A second model, which adds highs to the music of the first.")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds that a window of long music shares with the one before; a quarter.")
    ] = None,
    num_corrections: Annotated[
        int | None,
        typer.Option(
            "--corrections",
            help="Backward passes a step that fit what is made to what is held; 2, 0 is fastest.",
            min=0,
        ),
    ] = None,
    num_resamplings: Annotated[
        int, typer.Option("--resamplings", help="Rounds that blend what is made with what was given.", min=0)
    ] = 0,
    negative: Annotated[
        str | None,
        typer.Option("--negative-prompt", metavar="TEXT", help="What a picture of a sound is to be led away from."),
    ] = None,
    audio_guidance_scale: Annotated[
        float | None,
        typer.Option(help="How far the sound leads, beside --guidance-scale for the text, which else is for both."),
    ] = None,
    adapter_scale: Annotated[
        float | None, typer.Option(help="How much is heard: 0 is deaf, 1 as it was trained, at most 2.")
    ] = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="FIRST SECOND", help="A strip of pictures from one sound to another."),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Pictures of that strip; 7 by default.")] = None,
    strengths: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBERS", help="A strip of each sound, a picture for each of these strengths."),
    ] = None,
    is_gif: Annotated[bool, typer.Option("--gif", help="The strip as a GIF, too.")] = False,
    seed: Annotated[int, typer.Option(help="Other seeds give other voices and other pictures.")] = 0,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddpm, ddim, euler, heun, dpmsolver++, dpmsolver++sde or unipc; flow-euler, flow-heun, "
            "flow-dpmsolver++, flow-dpmsolver++sde or flow-unipc for a model of a flow."
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
    """Let pictures speak, paint sounds, draw pictures of labels or words, or play.

    A model that speaks writes a wav and a spectrogram for each picture, and prints the words that its judge hears. A
    model that makes pictures writes LABEL_000.png, LABEL_001.png, ... and a contact sheet; each file tells how it was
    made, and picture 5 of a label is the same whatever else is asked for. A model that makes music writes 000.wav,
    000.png and 000.json, ..., or LABEL_000.wav, and a contact sheet of their spectrograms. A model that paints what
    it hears writes STEM.png, STEM_1.png, ... and STEM.json of each sound, or a strip; picture i of every sound begins
    with the same noise.

    Examples: `synesthete sample image-to-speech-digits seven.png --out spoken`,
    `synesthete sample runs/mine drawings/ --out spoken --seed 3 --guidance-scale 2`,
    `synesthete sample images-digits --label 7 --num 64 --out drawn`,
    `synesthete sample images-digits --label all --num 4 --sampler ddim --steps 50 --out drawn`,
    `synesthete sample runs/clip --prompt "a photo of a red cat" --out drawn`,
    `synesthete sample runs/music --num 4 --seconds 12 --out played`,
    `synesthete sample runs/music --init clip.wav --strength 0.6 --out varied`,
    `synesthete sample runs/music --init clip.wav --gap 3 4.5 --out mended`,
    `synesthete sample runs/music --init clip.wav --continue --seconds 30 --out longer`,
    `synesthete sample runs/audio-to-image dog.wav --prompt "in the snow" --num 4`,
    `synesthete sample runs/audio-to-image sounds/ --negative-prompt blurry --audio-guidance-scale 4 --out heard`,
    `synesthete sample runs/audio-to-image --between dog.wav rain.wav --gif --out heard`,
    `synesthete sample runs/audio-to-image dog.wav --strengths 0 0.5 1 1.5 --num 3 --out heard`
    """
    asked = Asked(seconds, init, strength, gap, goes_on, is_loop, overlap, num_corrections, num_resamplings)
    asked.check()
    heard = HeardRequest(
        negative,
        audio_guidance_scale,
        adapter_scale,
        between,
        frames,
        tuple(numbers("--strengths", strengths, float)),
        is_gif,
    )
    inputs = inputs or []
    heard.check(inputs)
    settings = {"sampler": sampler, "num_inference_steps": steps, "guidance_scale": guidance_scale}
    settings |= {"audio_guidance_scale": audio_guidance_scale, "adapter_scale": adapter_scale}
    changes = assigned(assignments or [], {k: v for k, v in settings.items() if v is not None})
    check_inputs(inputs)

    pipeline, highs = load_models(model, upsampler, device)
    if heard.options() and not pipeline.has_two_sources:
        raise InputError(f"{model}: hears no sound that it could paint; leave out {' and '.join(heard.options())}")
    pipeline.sampling_settings(**changes)
    makes_sound, reads_pictures = pipeline.codec.spec is not None, pipeline.conditioner.reads == "image"
    of_music = asked.options() + (["--upsampler"] if highs else [])
    if of_music and (reads_pictures or not makes_sound):
        what = "speaks" if makes_sound else "makes pictures"
        raise InputError(f"{model}: a model that {what}, and makes no music; leave out {' and '.join(of_music)}")
    if makes_sound and reads_pictures:
        if given := [f"--{name}" for name, value in (("label", labels), ("prompt", prompts), ("num", num)) if value]:
            raise InputError(f"{model}: a model that speaks, of pictures alone; leave out {' and '.join(given)}")
        if not inputs:
            raise InputError(f"{model}: a model that speaks; give it pictures, or folders of pictures")
        found, targets = plan_speech(inputs, out, overwrite)
        values, text = speak(pipeline, model, found, targets, out=out, seed=seed, changes=changes)
    elif makes_sound:
        if inputs or prompts:
            given = [str(inputs[0])] if inputs else ["--prompt"]
            raise InputError(
                f"{model}: a model that makes music, and reads neither pictures nor text; leave out {given[0]}"
            )
        values, text = play(
            pipeline,
            highs,
            model,
            listed(labels, ["all", *pipeline.class_names]),
            asked,
            out=out,
            num=num or NUM_SOUNDS,
            seed=seed,
            changes=changes,
            overwrite=overwrite,
        )
    elif pipeline.has_two_sources:
        if labels:
            raise InputError(f"{model}: paints what it hears, and has no labels; leave out --label")
        if len(prompts or []) > 1:
            raise InputError(f"{model}: reads one prompt beside a sound, not {len(prompts or [])}; call it for each")
        values, text = paint_heard(
            pipeline,
            model,
            inputs,
            prompts[0] if prompts else None,
            heard,
            out=out,
            num=num or NUM_HEARD,
            seed=seed,
            changes=changes,
            overwrite=overwrite,
        )
    else:
        if inputs:
            reads = "--label, or --prompt where it reads text" if pipeline.is_conditional else "--num alone"
            raise InputError(
                f"{model}: a model that makes pictures, and reads none; instead of {inputs[0]} give {reads}"
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


def check_inputs(inputs: list[Path]) -> None:
    """Make sure that there is something to look at or to listen to, before a model is loaded.

    Raises:
        InputError: an input that does not exist, or a folder with neither pictures nor sounds.
    """
    from synesthete.data.files import list_files
    from synesthete.data.picture import list_pictures
    from synesthete.data.recordings import SUFFIXES

    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file; give a picture or a sound, or a folder of either")
        if path.is_dir() and not list_pictures(path) and not list_files(path, SUFFIXES):
            raise InputError(f"{path}: no pictures in it, nor sounds; give another folder")


def assigned(assignments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with `key=value` assignments, values read and checked as a recipe's are."""
    from synesthete.config import Sampling, read_assignment

    checked = Sampling()
    for key, value in [*settings.items(), *map(read_assignment, assignments)]:
        setattr(checked, key, value)
        settings[key] = getattr(checked, key)
    return settings
