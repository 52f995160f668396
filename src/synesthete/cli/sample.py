"""`synesthete sample`: the general form of speak, draw, paint and play."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.lists import numbers
from synesthete.cli.options import AsJson, Device, ModelName, finish, progress_bar
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.tasks import Task

OF_SOUND = ("audio_guidance_scale", "adapter_scale")  # sampling settings of models that hear
# What the command calls fields whose option has another name.
OPTIONS = {
    "labels": "--label",
    "prompts": "--prompt",
    "goes_on": "--continue",
    "is_loop": "--loop",
    "is_gif": "--gif",
    "num_corrections": "--corrections",
    "num_resamplings": "--resamplings",
}

Out = Annotated[Path, typer.Option(help="Folder for what is made.")]
Num = Annotated[int | None, typer.Option(help="How many of each.", min=1)]
Seed = Annotated[int, typer.Option(help="Other seeds give others.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="A class by name or number; several by commas or given again; or all."),
]
Prompts = Annotated[
    list[str] | None, typer.Option("--prompt", help="Words of your own, for a model that reads text; again for more.")
]
Sampler = Annotated[str | None, typer.Option(help="Such as ddim or flow-heun; an unknown name lists them all.")]
Steps = Annotated[int | None, typer.Option(help="Number of sampling steps.")]
GuidanceScale = Annotated[
    float | None, typer.Option(help="1.0 is off; higher follows the condition more; 0.0 does without it.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other sampling setting, such as eta=0.5."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")]
Seconds = Annotated[float | None, typer.Option(help="Length of each sound; the model's own by default.")]
Init = Annotated[Path | None, typer.Option(help="A sound to vary, to mend (--gap) or to go on from.")]
Strength = Annotated[
    float | None, typer.Option(help="How far --init is varied, above 0 to 1, which keeps nothing; 0.6 by default.")
]
Gap = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="START END", help="Seconds of --init to be made anew; the rest stays as it is."),
]
GoesOn = Annotated[bool, typer.Option("--continue", help="Go on after --init, up to --seconds in all.")]
IsLoop = Annotated[bool, typer.Option("--loop", help="Music whose end meets its beginning.")]
Upsampler = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A second model, which adds highs to the music of the first.")
]
Overlap = Annotated[
    float | None, typer.Option(help="Seconds that a window of long music shares with the one before; a quarter.")
]
Corrections = Annotated[
    int | None,
    typer.Option("--corrections", help="Backward passes a step that fit what is made to what is held; 2.", min=0),
]
Resamplings = Annotated[
    int | None, typer.Option("--resamplings", help="Rounds that blend what is made with what was given.", min=0)
]
Negative = Annotated[str | None, typer.Option(metavar="TEXT", help="What a picture is to be led away from.")]
AudioGuidanceScale = Annotated[
    float | None,
    typer.Option(help="How far the sound leads, beside --guidance-scale for the text, which else is for both."),
]
AdapterScale = Annotated[
    float | None, typer.Option(help="How much is heard: 0 is deaf, 1 as it was trained, at most 2.")
]
Between = Annotated[
    tuple[Path, Path] | None,
    typer.Option(metavar="FIRST SECOND", help="A strip of pictures from one sound to another."),
]
Frames = Annotated[int | None, typer.Option(help="Pictures of that strip; 7 by default.")]
Strengths = Annotated[
    list[str] | None, typer.Option(metavar="NUMBERS", help="A strip of each sound, a picture for each strength.")
]
IsGif = Annotated[bool, typer.Option("--gif", help="The strip as a GIF, too.")]


def sample(
    model: ModelName,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Pictures or sounds, or folders of them, for a model that reads any."),
    ] = None,
    *,
    out: Out = Path("out/sample"),
    labels: Labels = None,
    prompts: Prompts = None,
    num: Num = None,
    seconds: Seconds = None,
    init: Init = None,
    strength: Strength = None,
    gap: Gap = None,
    goes_on: GoesOn = False,
    is_loop: IsLoop = False,
    upsampler: Upsampler = None,
    overlap: Overlap = None,
    num_corrections: Corrections = None,
    num_resamplings: Resamplings = None,
    negative_prompt: Negative = None,
    audio_guidance_scale: AudioGuidanceScale = None,
    adapter_scale: AdapterScale = None,
    between: Between = None,
    frames: Frames = None,
    strengths: Strengths = None,
    is_gif: IsGif = False,
    seed: Seed = 0,
    sampler: Sampler = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    assignments: Settings = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Sample from any model. `speak`, `draw`, `paint` and `play` do so with the options of their kind alone.

    Pictures that speak become STEM.wav and STEM.png; labels LABEL_000.png, ... and a contact sheet; music 000.wav,
    000.png and 000.json, ...; sounds STEM.png, STEM_1.png, ... and STEM.json. Each file tells how it was made, and
    sample 5 of a label is the same whatever else is asked for.

    Examples: `synesthete sample image-to-speech-digits seven.png --out spoken`,
    `synesthete sample images-digits --label 7 --num 64 --out drawn`,
    `synesthete sample runs/music --init clip.wav --gap 3 4.5 --out mended`,
    `synesthete sample runs/audio-to-image dog.wav --prompt "in the snow" --num 4`
    """
    given = dict(locals())
    make(given.pop("model"), given)


def make(model: str, given: dict[str, Any], verb: str | None = None) -> None:
    """Ask a model for what was given, and write it.

    given: a command's arguments, by the names of the task's request and of the sampling settings. verb: the command
    that was called, where it is for one task alone.

    Raises:
        InputError: no such model, one of another verb, or what it does not read.
    """
    from synesthete.tasks.task import find_task, model_folder, model_task_name, verb_of

    as_json, device, seed = given.pop("as_json"), given.pop("device"), given.pop("seed")
    settings = {name: given.pop(name, None) for name in ("sampler", "guidance_scale", *OF_SOUND)}
    settings = assigned(given.pop("assignments"), {**settings, "num_inference_steps": given.pop("steps")})
    common = {"model": model, "seed": seed, "settings": settings}
    common |= {name: given.pop(name) for name in ("out", "overwrite")}
    name = model_task_name(model_folder(model))
    check_verb(model, verb_of(name), verb)
    request = ask(find_task(name), given, common)
    from synesthete.tasks.model import load
    from synesthete.tasks.sampling import write

    loaded = load(model, device)
    plan = loaded.plan(request)
    with progress_bar() as show:
        made = write(plan, lambda what, done, total: show(what, done, total, ""))
    finish(as_json, made.values, made.text)


def ask(task: Task, given: dict[str, Any], common: dict[str, Any]) -> Any:
    """The request of a task.

    Raises:
        InputError: what the task does not read, or what does not fit together.
    """
    kind = task.request_type()
    asked = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value not in ([], ())
    }
    if wrong := [name for name in asked if name not in kind.own_fields()]:
        named = [
            str(asked[name][0]) if name == "inputs" else OPTIONS.get(name, f"--{name.replace('_', '-')}")
            for name in wrong
        ]
        raise InputError(
            f"{common['model']}: {task.verb}s, which takes no {' and no '.join(named)}; leave that out, "
            f"`synesthete {task.verb} --help` says what it takes"
        )
    if "strengths" in asked:
        asked["strengths"] = tuple(numbers("--strengths", asked["strengths"], float))
    request = kind(**common, **asked)
    request.check()
    return request


def check_verb(model: str, right: str, called: str | None) -> None:
    """Make sure that the model does what was asked of it.

    Raises:
        InputError: it does something else, and the command for that.
    """
    if called not in (None, right):
        raise InputError(f"{model}: does not {called}, it {right}s; use `synesthete {right} {model}`")


def assigned(assignments: list[str] | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given with `key=value` assignments, values read and checked as a recipe's are."""
    from synesthete.config import Sampling, read_assignment

    checked, found = Sampling(), {}
    given = [(key, value) for key, value in settings.items() if value is not None]
    for key, value in [*given, *map(read_assignment, assignments or [])]:
        setattr(checked, key, value)
        found[key] = getattr(checked, key)
    return found
