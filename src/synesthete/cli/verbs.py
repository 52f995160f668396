"""`synesthete speak`, `draw`, `paint`, `play`, and `sample`, their general form: what each can be asked, and how."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, cast

import typer

from synesthete import hub
from synesthete.cli import options
from synesthete.config import Sampling, read_assignment
from synesthete.tasks.model import load
from synesthete.tasks.sampling import write_results
from synesthete.tasks.task import HELP, Task, find_task, model_folder, model_task_name, verb_of
from synesthete.types import InputError

OF_SOUND = ("audio_guidance_scale", "adapter_scale")  # sampling settings of models that hear


def option(kind: Any, help: str, *names: str, **more: Any) -> Any:
    """The annotation of an option. names: where it is not called as its parameter is."""
    return Annotated[kind, typer.Option(*names, help=help, **more)]


# What a command may be asked, by the fields of the tasks' requests and the sampling settings.
OPTIONS: dict[str, Any] = {
    "labels": option(list[str] | None, HELP["labels"], "--label"),
    "prompts": option(list[str] | None, HELP["prompts"], "--prompt"),
    "num": option(int | None, HELP["num"], min=1),
    "loudness": option(float | None, HELP["loudness"], metavar="DB"),
    "seconds": option(float | None, HELP["seconds"]),
    "bars": option(int | None, HELP["bars"]),
    "key": option(str | None, HELP["key"]),
    "tempo": option(float | None, HELP["tempo"]),
    "init": option(Path | None, HELP["init"]),
    "harmonise": option(bool, HELP["harmonise"], "--harmonise"),
    "fill": option(str | None, HELP["fill"], metavar="BARS"),
    "remake": option(str | None, HELP["remake"], metavar="VOICES"),
    "strength": option(float | None, HELP["strength"]),
    "gap": option(tuple[float, float] | None, HELP["gap"], metavar="START END"),
    "goes_on": option(bool, HELP["goes_on"], "--continue"),
    "is_loop": option(bool, HELP["is_loop"], "--loop"),
    "upsampler": option(str | None, HELP["upsampler"], metavar="MODEL"),
    "overlap": option(float | None, HELP["overlap"]),
    "num_corrections": option(int | None, HELP["num_corrections"], "--corrections", min=0),
    "num_resamplings": option(int | None, HELP["num_resamplings"], "--resamplings", min=0),
    "negative_prompt": option(str | None, HELP["negative_prompt"], metavar="TEXT"),
    "audio_guidance_scale": option(float | None, HELP["audio_guidance_scale"]),
    "adapter_scale": option(float | None, HELP["adapter_scale"]),
    "between": option(tuple[Path, Path] | None, HELP["between"], metavar="FIRST SECOND"),
    "frames": option(int | None, HELP["frames"]),
    "strengths": option(list[str] | None, HELP["strengths"], metavar="NUMBERS"),
    "is_gif": option(bool, HELP["is_gif"], "--gif"),
    "voice": option(str | None, HELP["voice"]),
    "instrument": option(str | None, HELP["instrument"], metavar="NAME"),
    "player": option(str | None, HELP["player"], "--with", metavar="MODEL"),
    "pitch": option(float | None, HELP["pitch"]),
    "rate": option(float | None, HELP["rate"]),
    "max_pixels": option(int | None, HELP["max_pixels"], min=1),
    "out": option(Path, HELP["out"]),
    "seed": option(int, HELP["seed"]),
    "sampler": option(str | None, HELP["sampler"]),
    "steps": option(int | None, HELP["steps"]),
    "guidance_scale": option(float | None, HELP["guidance_scale"]),
    "assignments": option(list[str] | None, HELP["assignments"], "--set", metavar="KEY=VALUE"),
    "device": options.Device,
    "engine": option(str, HELP["engine"], show_default=False),
    "overwrite": options.Overwrite,
    "as_json": options.AsJson,
}
EVERYWHERE = tuple(OPTIONS)[tuple(OPTIONS).index("out") :]  # of every command
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "device": "auto",
    "engine": "torch",
    **dict.fromkeys(("goes_on", "harmonise", "is_loop", "is_gif", "overwrite", "as_json"), False),
}


class Verb(NamedTuple):
    """A command that samples. about: for its help. examples: what the help begins with.

    default: the model where none is named; "" of the general form. reads: the kind of files that it takes. options: of
    OPTIONS, beside those of every command. others: what its help says of the models of another task, by the task.
    """

    about: str
    examples: tuple[str, ...]
    default: str
    reads: str
    options: tuple[str, ...]
    others: Mapping[str, Verb] = MappingProxyType({})

    @property
    def all_options(self) -> tuple[str, ...]:
        """Those of all tasks, each once."""
        return tuple(dict.fromkeys(name for verb in (self, *self.others.values()) for name in verb.options))

    def of(self, args: Sequence[str]) -> Verb:
        """The verb as it is for the first argument that is a task or a model."""
        for arg in args:
            if arg in self.others or Path(arg).is_dir():
                with contextlib.suppress(InputError):
                    return self.others.get(arg if arg in self.others else model_task_name(model_folder(arg)), self)
        return self

    @property
    def help(self) -> str:
        """The examples, then what it does."""
        return "".join(f"- `{line}`\n" for line in self.examples) + f"\n{self.about}"


COMPOSE = Verb(
    "Compose: 000.mid, .wav, its notes as .png, and .json, ... (4 pieces), of nothing, in a key, or of a score.",
    (
        'synesthete play music-compose --bars 16 --key "D minor"',
        "synesthete play music-compose --init melody.mid --harmonise",
        "synesthete play music-compose --init tune.mid --fill 3-4 --out mended",
    ),
    "music-compose",
    "",
    (
        *("bars", "key", "num", "tempo", "init", "harmonise", "voice", "goes_on", "fill", "remake"),
        *("instrument", "player"),
    ),
)

SCORE = Verb(
    "Play scores, MIDI or MusicXML files of any length: STEM.wav, .png (notes and spectrogram) and .json of each.",
    (
        "synesthete play music-score tune.mid --instrument strings",
        "synesthete play music-score tune.mxl --instrument all --seconds 30",
        "synesthete play runs/score scores/ --out played --seed 3",
    ),
    "music-score",
    "score",
    ("instrument", "seconds"),
)

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
        "Play: 000.wav, 000.png and 000.json, ... (4 of each label), of nothing, of a label, or of a clip. Models that "
        "compose or play scores take other options: `synesthete play music-compose --help`, `play music-score --help`.",
        (
            "synesthete play --label piano --num 1",
            "synesthete play runs/music --seconds 30 --loop",
            "synesthete play runs/music --init clip.wav --gap 3 4.5 --out mended",
        ),
        "music-notes",
        "score",
        (
            *("labels", "loudness", "num", "seconds", "init", "strength", "gap", "goes_on", "is_loop", "upsampler"),
            *("overlap", "num_corrections", "num_resamplings"),
        ),
        {"music-compose": COMPOSE, "music-score": SCORE},
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


class VerbCommand(options.ListCommand):
    """A command that samples, whose --strengths takes all numbers that follow. Its help is of the model's task."""

    takes, fits = ("--strengths",), options.NUMBERS.fullmatch

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As every command's; before help is shown, what it shows is chosen."""
        verb = VERBS[str(self.name)]
        if verb.others and {"--help", "-h"} & {*args}:
            verb = verb.of(args)
            self.help, params = verb.help, cast("Any", self.params)
            for param in params:
                param.hidden = param.name in OPTIONS and param.name not in (*verb.options, *EVERYWHERE)
        return super().parse_args(ctx, args)


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
        first = [parameter("model", options.ModelName), parameter("inputs", Annotated[list[Path] | None, files], None)]
    elif verb.reads:
        # A strip between two sounds needs no files, nor does music; pictures are asked for by their command's usage.
        needs_none = "between" in verb.options or bool(verb.others)
        metavar = f"[MODEL] [{verb.reads.upper()}...]" if verb.others else f"[MODEL] {verb.reads.upper()}..."
        about = f"{about} {verb.reads.title()}s, or folders of them."
        kind = Annotated[
            list[str] | None, typer.Argument(metavar=metavar, help=about, autocompletion=options.first_models)
        ]
        first = [parameter("arguments", kind, None) if needs_none else parameter("arguments", kind)]
    else:
        own = typer.Argument(metavar="[MODEL]", help=about, autocompletion=options.models)
        first = [parameter("model", Annotated[str, own], verb.default)]
    defaults = DEFAULTS | {"out": Path("out") / name}
    rest = [
        parameter(name, completed(OPTIONS[name], options.completer(name, verb.default)), defaults.get(name))
        for name in (*verb.all_options, *EVERYWHERE)
    ]
    vars(run)["__signature__"] = inspect.Signature([*first, *rest])
    run.__name__ = name
    return run


def completed(annotation: Any, complete: Callable[..., list[str]] | None) -> Any:
    """The annotation of an option with what a shell completes it with."""
    option = copy.copy(annotation.__metadata__[0])
    option.autocompletion = complete
    return Annotated[annotation.__origin__, option]


def make(model: str, given: dict[str, Any], verb: str | None = None) -> None:
    """Ask a model for the arguments of a command, and write it. verb: the command, where it is for one task alone."""
    as_json, device, engine, seed = (given.pop(name) for name in ("as_json", "device", "engine", "seed"))
    settings = {name: given.pop(name, None) for name in ("sampler", "guidance_scale", *OF_SOUND)}
    settings = assigned(given.pop("assignments"), {**settings, "num_inference_steps": given.pop("steps")})
    common = {"model": model, "seed": seed, "settings": settings}
    common |= {name: given.pop(name) for name in ("out", "overwrite")}
    name = model_task_name(model_folder(model))
    if verb not in (None, right := verb_of(name)):
        raise InputError(f"{model}: does not {verb}, it {right}s; use `synesthete {right} {model}`")
    request = build_request(find_task(name), given, common)
    loaded = load(model, device, engine)
    plan = loaded.plan(request)
    with options.progress_bar() as report:
        made = write_results(plan, report)
    options.finish(as_json, made.values, made.text, made.values["written"])


def build_request(task: Task, given: dict[str, Any], common: dict[str, Any]) -> Any:
    """The request of a task."""
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
        asked["strengths"] = tuple(options.parse_numbers("--strengths", asked["strengths"], float))
    request = kind(**common, **asked)
    request.check()
    return request


def called(name: str) -> str:
    """What the commands call a field."""
    named = OPTIONS[name].__metadata__[0].default  # where typer keeps the first name that an annotation gives
    return f"--{name.replace('_', '-')}" if named is ... else str(named)


def assigned(assignments: list[str] | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given with `key=value` assignments, values read and checked as a recipe's are."""
    checked, found = Sampling(), {}
    given = [(key, value) for key, value in settings.items() if value is not None]
    for key, value in [*given, *map(read_assignment, assignments or [])]:
        setattr(checked, key, value)
        found[key] = getattr(checked, key)
    return found


def split_model(arguments: list[str], default: str) -> tuple[str, list[Path]]:
    """The model, which is the first argument if that names one, and the files."""
    model, files = (arguments[0], arguments[1:]) if arguments and names_model(arguments[0]) else (default, arguments)
    if missing := [file for file in files if not Path(file).exists()]:
        raise InputError(f"{missing[0]}: no such file" + (", nor a model" if missing[0] == arguments[0] else ""))
    return model, [Path(file) for file in files]


def names_model(text: str) -> bool:
    """Whether an argument names a model: its folder, or what is no file and has no suffix."""
    path = Path(text).expanduser()
    if path.exists():
        marks = (hub.MODEL_INDEX, f"model/{hub.MODEL_INDEX}", "recipe.yaml", hub.ADAPTERS_INDEX)
        return any((path / mark).is_file() for mark in marks)
    return not path.suffix
