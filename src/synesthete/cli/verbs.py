"""`synesthete speak`, `draw`, `paint` and `play`: each a `sample` of one kind of model, with its options alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli import sample as general
from synesthete.cli.options import AsJson, Device
from synesthete.types import InputError

# What each command's help begins with.
EXAMPLES = {
    "speak": (
        "synesthete speak seven.png",
        "synesthete speak runs/mine drawings/ --out spoken --seed 3",
        "synesthete speak image-to-speech-photos dog.jpg --guidance-scale 2",
    ),
    "draw": (
        "synesthete draw --label 7",
        "synesthete draw images-digits --label all --num 4 --sampler ddim --steps 50",
        'synesthete draw runs/clip --prompt "a photo of a red cat" --out drawn',
    ),
    "paint": (
        "synesthete paint seven.wav",
        'synesthete paint runs/audio-to-image dog.wav --prompt "in the snow" --num 4',
        "synesthete paint --between one.wav two.wav --gif --out heard",
    ),
    "play": (
        "synesthete play --label piano --num 1",
        "synesthete play runs/music --seconds 30 --loop",
        "synesthete play runs/music --init clip.wav --gap 3 4.5 --out mended",
    ),
}
MODEL_HELP = "A run folder, a model folder, a Hub id or a shipped model;"


def speak(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PICTURE...",
            help=f"{MODEL_HELP} image-to-speech-digits by default. Pictures, or folders of them.",
        ),
    ],
    *,
    out: general.Out = Path("out/speak"),
    seed: general.Seed = 0,
    sampler: general.Sampler = None,
    steps: general.Steps = None,
    guidance_scale: general.GuidanceScale = None,
    assignments: general.Settings = None,
    device: Device = "auto",
    overwrite: general.Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Let pictures speak: STEM.wav and its spectrogram STEM.png for each, and the words that its judge hears."""
    given = dict(locals())
    model, files = split_model(given.pop("arguments"), "image-to-speech-digits")
    general.make(model, given | {"inputs": files}, verb="speak")


def draw(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help=f"{MODEL_HELP} images-digits by default.")
    ] = "images-digits",
    *,
    labels: general.Labels = None,
    prompts: general.Prompts = None,
    num: general.Num = None,
    out: general.Out = Path("out/draw"),
    seed: general.Seed = 0,
    sampler: general.Sampler = None,
    steps: general.Steps = None,
    guidance_scale: general.GuidanceScale = None,
    assignments: general.Settings = None,
    device: Device = "auto",
    overwrite: general.Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw pictures of labels or words: LABEL_000.png, ... (8 of each), and a contact sheet."""
    given = dict(locals())
    general.make(given.pop("model"), given, verb="draw")


def paint(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] SOUND...",
            help=f"{MODEL_HELP} audio-to-image-digits by default. Sounds, or folders of them.",
        ),
    ] = None,
    *,
    prompts: general.Prompts = None,
    negative_prompt: general.Negative = None,
    num: general.Num = None,
    audio_guidance_scale: general.AudioGuidanceScale = None,
    adapter_scale: general.AdapterScale = None,
    between: general.Between = None,
    frames: general.Frames = None,
    strengths: general.Strengths = None,
    is_gif: general.IsGif = False,
    out: general.Out = Path("out/paint"),
    seed: general.Seed = 0,
    sampler: general.Sampler = None,
    steps: general.Steps = None,
    guidance_scale: general.GuidanceScale = None,
    assignments: general.Settings = None,
    device: Device = "auto",
    overwrite: general.Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Paint what is heard: STEM.png, STEM_1.png, ... and STEM.json of each sound, or a strip of pictures."""
    given = dict(locals())
    model, files = split_model(given.pop("arguments") or [], "audio-to-image-digits")
    general.make(model, given | {"inputs": files}, verb="paint")


def play(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help=f"{MODEL_HELP} music-notes by default.")
    ] = "music-notes",
    *,
    labels: general.Labels = None,
    num: general.Num = None,
    seconds: general.Seconds = None,
    init: general.Init = None,
    strength: general.Strength = None,
    gap: general.Gap = None,
    goes_on: general.GoesOn = False,
    is_loop: general.IsLoop = False,
    upsampler: general.Upsampler = None,
    overlap: general.Overlap = None,
    num_corrections: general.Corrections = None,
    num_resamplings: general.Resamplings = None,
    out: general.Out = Path("out/play"),
    seed: general.Seed = 0,
    sampler: general.Sampler = None,
    steps: general.Steps = None,
    guidance_scale: general.GuidanceScale = None,
    assignments: general.Settings = None,
    device: Device = "auto",
    overwrite: general.Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Play: 000.wav, 000.png and 000.json, ... (4 of each label), of nothing, of a label, or of a clip."""
    given = dict(locals())
    general.make(given.pop("model"), given, verb="play")


def split_model(arguments: list[str], default: str) -> tuple[str, list[Path]]:
    """The model, which is the first argument if that names one, and the files.

    Raises:
        InputError: a file that is not there.
    """
    model, files = (arguments[0], arguments[1:]) if arguments and names_model(arguments[0]) else (default, arguments)
    if missing := [file for file in files if not Path(file).exists()]:
        raise InputError(f"{missing[0]}: no such file" + (", nor a model" if missing[0] == arguments[0] else ""))
    return model, [Path(file) for file in files]


def names_model(text: str) -> bool:
    """Whether an argument names a model: its folder, or what is no file and has no suffix."""
    from synesthete import hub
    from synesthete.tasks.task import ADAPTERS

    path = Path(text).expanduser()
    if path.exists():
        marks = (hub.MODEL_INDEX, f"model/{hub.MODEL_INDEX}", "recipe.yaml", ADAPTERS)
        return any((path / mark).is_file() for mark in marks)
    return not path.suffix
