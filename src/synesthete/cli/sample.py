"""`synesthete speak`, `draw`, `paint`, `play`, and `sample`, which is the general form of the four."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from synesthete.cli.options import AsJson, Device, ModelName, Overwrite, finish, parse_numbers, progress_bar
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.tasks import Task

OF_SOUND = ("audio_guidance_scale", "adapter_scale")  # sampling settings of models that hear


def option(kind: Any, help: str, *names: str, **more: Any) -> Any:
    """The annotation of an option. names: where it is not called as its parameter is."""
    return Annotated[kind, typer.Option(*names, help=help, **more)]


# What a command may be asked, by the fields of the tasks' requests and the sampling settings.
OPTIONS: dict[str, Any] = {
    "labels": option(
        list[str] | None, "A class by name or number; several by commas or given again; or all.", "--label"
    ),
    "prompts": option(list[str] | None, "Words of your own, for a model that reads text; again for more.", "--prompt"),
    "num": option(int | None, "How many of each.", min=1),
    "seconds": option(float | None, "Length of each sound; the model's own by default."),
    "init": option(Path | None, "A sound to vary, to mend (--gap) or to go on from."),
    "strength": option(float | None, "How far --init is varied, above 0 to 1, which keeps nothing; 0.6 by default."),
    "gap": option(
        tuple[float, float] | None, "Seconds of --init to be made anew; the rest stays as it is.", metavar="START END"
    ),
    "goes_on": option(bool, "Go on after --init, up to --seconds in all.", "--continue"),
    "is_loop": option(bool, "Music whose end meets its beginning.", "--loop"),
    "upsampler": option(str | None, "A second model, which adds highs to the music of the first.", metavar="MODEL"),
    "overlap": option(float | None, "Seconds that a window of long music shares with the one before; a quarter."),
    "num_corrections": option(
        int | None, "Backward passes a step that fit what is made to what is held; 2.", "--corrections", min=0
    ),
    "num_resamplings": option(
        int | None, "Rounds that blend what is made with what was given.", "--resamplings", min=0
    ),
    "negative_prompt": option(str | None, "What a picture is to be led away from.", metavar="TEXT"),
    "audio_guidance_scale": option(
        float | None, "How far the sound leads, beside --guidance-scale for the text, which else is for both."
    ),
    "adapter_scale": option(float | None, "How much is heard: 0 is deaf, 1 as it was trained, at most 2."),
    "between": option(
        tuple[Path, Path] | None, "A strip of pictures from one sound to another.", metavar="FIRST SECOND"
    ),
    "frames": option(int | None, "Pictures of that strip; 7 by default."),
    "strengths": option(list[str] | None, "A strip of each sound, a picture for each strength.", metavar="NUMBERS"),
    "is_gif": option(bool, "The strip as a GIF, too.", "--gif"),
    "voice": option(str | None, "Who speaks: a voice of the model, several by commas, or all; else chance decides."),
    "pitch": option(float | None, "How high, 0 to 99; 50 is the voice's own."),
    "rate": option(float | None, "How fast, in words a minute."),
    "max_pixels": option(int | None, "Pixels of a picture from which on it is not decoded; 100 million.", min=1),
    "out": option(Path, "Folder for what is made."),
    "seed": option(int, "Other seeds give others."),
    "sampler": option(str | None, "Such as ddim or flow-heun; an unknown name lists them all."),
    "steps": option(int | None, "Number of sampling steps."),
    "guidance_scale": option(float | None, "1.0 is off; higher follows the condition more; 0.0 does without it."),
    "assignments": option(
        list[str] | None, "Any other sampling setting, such as eta=0.5.", "--set", metavar="KEY=VALUE"
    ),
    "device": Device,
    "overwrite": Overwrite,
    "as_json": AsJson,
}
EVERYWHERE = tuple(OPTIONS)[tuple(OPTIONS).index("out") :]  # of every command
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "device": "auto",
    **dict.fromkeys(("goes_on", "is_loop", "is_gif", "overwrite", "as_json"), False),
}


class Verb(NamedTuple):
    """A command that samples. about: for its help. examples: what the help begins with.

    default: the model where none is named; "" of the general form. reads: the kind of files that it takes. options: of
    OPTIONS, beside those of every command.
    """

    about: str
    examples: tuple[str, ...]
    default: str
    reads: str
    options: tuple[str, ...]


VERBS = {
    "speak": Verb(
        "Let pictures speak: STEM.wav and its spectrogram STEM.png for each, and the words that its classifier hears.",
        (
            "synesthete speak seven.png --voice bf_emma",
            "synesthete speak runs/mine drawings/ --out spoken --seed 3",
            "synesthete speak image-to-speech-photos dog.jpg --guidance-scale 2",
        ),
        "image-to-speech-voices",
        "picture",
        ("voice", "pitch", "rate", "max_pixels"),
    ),
    "draw": Verb(
        "Draw pictures of labels or words: LABEL_000.png, ... (8 of each), and a contact sheet.",
        (
            "synesthete draw --label 7",
            "synesthete draw images-digits --label all --num 4 --sampler ddim --steps 50",
            'synesthete draw runs/clip --prompt "a photo of a red cat" --out drawn',
        ),
        "images-digits",
        "",
        ("labels", "prompts", "num"),
    ),
    "paint": Verb(
        "Paint what is heard: STEM.png, STEM_1.png, ... and STEM.json of each sound, or a strip of pictures.",
        (
            "synesthete paint seven.wav",
            'synesthete paint runs/audio-to-image dog.wav --prompt "in the snow" --num 4',
            "synesthete paint --between one.wav two.wav --gif --out heard",
        ),
        "audio-to-image-digits",
        "sound",
        ("prompts", "negative_prompt", "num", *OF_SOUND, "between", "frames", "strengths", "is_gif"),
    ),
    "play": Verb(
        "Play: 000.wav, 000.png and 000.json, ... (4 of each label), of nothing, of a label, or of a clip.",
        (
            "synesthete play --label piano --num 1",
            "synesthete play runs/music --seconds 30 --loop",
            "synesthete play runs/music --init clip.wav --gap 3 4.5 --out mended",
        ),
        "music-notes",
        "",
        (
            *("labels", "num", "seconds", "init", "strength", "gap", "goes_on", "is_loop", "upsampler", "overlap"),
            *("num_corrections", "num_resamplings"),
        ),
    ),
    "sample": Verb(
        """Sample from any model. `speak`, `draw`, `paint` and `play` do so with the options of their kind alone.

Pictures that speak become STEM.wav and STEM.png; labels LABEL_000.png, ... and a contact sheet; music 000.wav,
000.png and 000.json, ...; sounds STEM.png, STEM_1.png, ... and STEM.json. Each file tells how it was made, and
sample 5 of a label is the same whatever else is asked for.""",
        (
            "synesthete sample image-to-speech-digits seven.png --out spoken",
            "synesthete sample images-digits --label 7 --num 64 --out drawn",
            "synesthete sample runs/music --init clip.wav --gap 3 4.5 --out mended",
            'synesthete sample runs/audio-to-image dog.wav --prompt "in the snow" --num 4',
        ),
        "",
        "",
        tuple(name for name in OPTIONS if name not in EVERYWHERE),
    ),
}


def command(name: str) -> Callable[..., None]:
    """The function of a verb; typer reads its options from its signature."""
    verb = VERBS[name]

    def run(**given: Any) -> None:
        if verb.reads:
            model, given["inputs"] = split_model(given.pop("arguments") or [], verb.default)
        else:
            model = given.pop("model")
        make(model, given, verb=name if verb.default else None)

    def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    about = f"A run folder, a model folder, a Hub id or a shipped model; {verb.default} by default."
    if not verb.default:
        files = typer.Argument(
            metavar="[FILE...]", help="Pictures or sounds, or folders of them, for a model that reads any."
        )
        first = [parameter("model", ModelName), parameter("inputs", Annotated[list[Path] | None, files], None)]
    elif verb.reads:
        metavar, about = f"[MODEL] {verb.reads.upper()}...", f"{about} {verb.reads.title()}s, or folders of them."
        kind = Annotated[list[str] | None, typer.Argument(metavar=metavar, help=about)]
        # A strip between two sounds needs no files; pictures that speak are asked for by their command's usage.
        first = [parameter("arguments", kind, None) if "between" in verb.options else parameter("arguments", kind)]
    else:
        first = [parameter("model", Annotated[str, typer.Argument(metavar="[MODEL]", help=about)], verb.default)]
    defaults = DEFAULTS | {"out": Path("out") / name}
    rest = [parameter(name, OPTIONS[name], defaults.get(name)) for name in (*verb.options, *EVERYWHERE)]
    vars(run)["__signature__"] = inspect.Signature([*first, *rest])
    run.__name__ = name
    return run


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
    if verb not in (None, right := verb_of(name)):
        raise InputError(f"{model}: does not {verb}, it {right}s; use `synesthete {right} {model}`")
    request = build_request(find_task(name), given, common)
    from synesthete.tasks.model import load
    from synesthete.tasks.sampling import write_results

    loaded = load(model, device)
    plan = loaded.plan(request)
    with progress_bar() as report:
        made = write_results(plan, report)
    finish(as_json, made.values, made.text)


def build_request(task: Task, given: dict[str, Any], common: dict[str, Any]) -> Any:
    """The request of a task.

    Raises:
        InputError: what the task does not read, or what does not fit together.
    """
    kind = task.request_type
    asked = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value not in ([], ())
    }
    if wrong := [name for name in asked if name not in kind.own_fields()]:
        named = [str(asked[name][0]) if name == "inputs" else called(name) for name in wrong]
        raise InputError(
            f"{common['model']}: {task.verb}s, which takes no {' and no '.join(named)}; leave that out, "
            f"`synesthete {task.verb} --help` says what it takes"
        )
    if "strengths" in asked:
        asked["strengths"] = tuple(parse_numbers("--strengths", asked["strengths"], float))
    request = kind(**common, **asked)
    request.check()
    return request


def called(name: str) -> str:
    """What the commands call a field."""
    named = OPTIONS[name].__metadata__[0].default  # where typer keeps the first name that an annotation gives
    return f"--{name.replace('_', '-')}" if named is ... else str(named)


def assigned(assignments: list[str] | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given with `key=value` assignments, values read and checked as a recipe's are."""
    from synesthete.config import Sampling, read_assignment

    checked, found = Sampling(), {}
    given = [(key, value) for key, value in settings.items() if value is not None]
    for key, value in [*given, *map(read_assignment, assignments or [])]:
        setattr(checked, key, value)
        found[key] = getattr(checked, key)
    return found


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

    path = Path(text).expanduser()
    if path.exists():
        marks = (hub.MODEL_INDEX, f"model/{hub.MODEL_INDEX}", "recipe.yaml", hub.ADAPTERS_INDEX)
        return any((path / mark).is_file() for mark in marks)
    return not path.suffix
