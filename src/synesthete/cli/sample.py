"""`synesthete speak`, `draw`, `paint`, `play`, and `sample`, which is the general form of the four."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from synesthete.cli.completion import completer, first_models, models
from synesthete.cli.options import ModelName, NumbersCommand, finish, parse_numbers, progress_bar
from synesthete.cli.verbs import DEFAULTS, EVERYWHERE, OF_SOUND, OPTIONS, VERBS
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.tasks import Task


class VerbCommand(NumbersCommand):
    """A command that samples. Its help is of the task of the model that is named beside --help."""

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
        first = [parameter("model", ModelName), parameter("inputs", Annotated[list[Path] | None, files], None)]
    elif verb.reads:
        # A strip between two sounds needs no files, nor does music; pictures are asked for by their command's usage.
        needs_none = "between" in verb.options or bool(verb.others)
        metavar = f"[MODEL] [{verb.reads.upper()}...]" if verb.others else f"[MODEL] {verb.reads.upper()}..."
        about = f"{about} {verb.reads.title()}s, or folders of them."
        kind = Annotated[list[str] | None, typer.Argument(metavar=metavar, help=about, autocompletion=first_models)]
        first = [parameter("arguments", kind, None) if needs_none else parameter("arguments", kind)]
    else:
        own = typer.Argument(metavar="[MODEL]", help=about, autocompletion=models)
        first = [parameter("model", Annotated[str, own], verb.default)]
    defaults = DEFAULTS | {"out": Path("out") / name}
    rest = [
        parameter(name, completed(OPTIONS[name], completer(name, verb.default)), defaults.get(name))
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
