"""Options that several commands share or that take several values, and how commands speak to the terminal."""

from __future__ import annotations

import ast
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from synesthete import hub
from synesthete.config import Recipe
from synesthete.config.build import check_size
from synesthete.data.files import some
from synesthete.io import is_address
from synesthete.logs import visible
from synesthete.tasks.model import recipe_of
from synesthete.tasks.sampling import split_commas
from synesthete.tasks.task import Task, task_of
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

# What a shell completes names with is asked at every press of a key, so no library is loaded for it.
SAMPLING = Path(__file__).parents[1] / "diffusion" / "sampling.py"


def beginning(names: Any, incomplete: str) -> list[str]:
    """The names that begin so; of several with commas between them, the last one is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if str(name).startswith(last)]


def recipe_names(incomplete: str) -> list[str]:
    """Names of recipes; files are completed by the shell."""
    from synesthete.recipes import RECIPES

    return beginning(RECIPES, incomplete)


def models(incomplete: str) -> list[str]:
    """Shipped models and finished runs below `runs`."""
    runs = sorted(str(path.parents[1]) for path in Path("runs").glob(f"*/model/{hub.MODEL_INDEX}"))
    return beginning([*hub.shipped_models(), *runs], incomplete)


def first_models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Models in the place of the first argument, where files may stand as well."""
    return [] if ctx.params.get("arguments") else models(incomplete)


def samplers(incomplete: str) -> list[str]:
    """The keys of the table in diffusion/sampling.py, read without importing it."""
    for node in ast.parse(SAMPLING.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SAMPLERS":
            return beginning([key.value for key in node.value.keys], incomplete)  # type: ignore[attr-defined]
    return []


def named_in_model(default: str, file: str, *path: str) -> Callable[..., list[str]]:
    """A completer of what a list in a file of the model names; `default` where no model is named."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        # Where the option lacks its value still, the arguments were left unread.
        named = [*ctx.args, ctx.params.get("model"), *(ctx.params.get("arguments") or ()), default]
        places = (p for one in filter(None, named) for p in (Path(one), Path(one) / "model", hub.SHIPPED / one))
        folder = next((place for place in places if (place / hub.MODEL_INDEX).is_file()), Path())
        try:
            found: Any = json.loads((folder / file).read_text(encoding="utf-8"))
            for key in path:
                found = found[key]
            return beginning([*found, "all"], incomplete)
        except (OSError, ValueError, LookupError, TypeError):  # it has none
            return []

    return complete


# The options of the commands that sample, and where a model says what they can be.
OF_A_MODEL = {
    "labels": (hub.MODEL_INDEX, "card", "class_names"),
    "voice": ("conditioner/config.json", "voices"),
    "instrument": ("conditioner/config.json", "instruments"),
}
BY_NAME = {"sampler": samplers, "upsampler": models, "player": models}


def completer(option: str, default: str = "") -> Callable[..., list[str]] | None:
    """What completes an option of a command that samples; None where nothing does. default: its model."""
    if option in OF_A_MODEL:
        return named_in_model(default, *OF_A_MODEL[option])
    return BY_NAME.get(option)


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name (see `synesthete recipes`), a YAML file or a run folder.",
        autocompletion=recipe_names,
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run folder, a model folder, a Hub id, or the name of a shipped model.",
        autocompletion=models,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be given several times."),
]


def read_place(text: str) -> Any:
    """A folder; an address (`s3://...`) as it is, since a path would lose one of its slashes."""
    return text if is_address(text) else Path(text)


DataFolder = Annotated[
    Path | None,
    typer.Option(
        parser=read_place, metavar="PLACE", help="The folder or address of `prepare --out`; the cache by default."
    ),
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, mps; auto is CUDA where there is some. The noise is the same on all.")
]
On = Annotated[
    str,
    typer.Option(help="Where work is divided: local, ray (this machine's, or RAY_ADDRESS), or ray://HOST:PORT."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

SECONDS_BETWEEN_LINES = 10.0
NEGATIVE = re.compile(r"-\.?\d")  # a value, not an option
NUMBERS = re.compile(r"[-+.,\deE]*\d[-+.,\deE]*")  # one, or several with commas between them


def open_model(model: str, device: str, assignments: Sequence[str] | None) -> tuple[Pipeline, Path, Recipe, Task]:
    """A model that was asked for, its folder, the recipe of its data as `recipe_of` finds it, and its task."""
    from synesthete.pipeline import Pipeline

    pipeline, folder = Pipeline.load(model, device), hub.find_model(model)
    recipe = recipe_of(pipeline, folder, assignments)
    return pipeline, folder, recipe, task_of(recipe)


def sampling_changes(recipe: Recipe, assignments: Sequence[str] | None) -> dict[str, Any]:
    """The sampling settings that `--set sampling.NAME=VALUE` changed."""
    keys = [text.partition("=")[0] for text in assignments or ()]
    names = [key.removeprefix("sampling.") for key in keys if key.startswith("sampling.")]
    return {name: getattr(recipe.sampling, name) for name in names}


def choose_folder(out: Path | None, kind: str, model: str) -> Path:
    """Where what a command writes of a model goes: the folder that was given, RUN/KIND, or out/KIND/MODEL."""
    run = Path(model)
    return out or (run / kind if (run / "model").is_dir() else Path("out") / kind / run.name)


def check_report_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that a report can be written, and that none is replaced unasked."""
    from synesthete.evaluation.reporting.report import check_place

    check_place(folder)
    if (folder / "report.json").exists() and not overwrite:
        raise InputError(f"{folder}: holds a report already; give --overwrite or another --out")


def finish(as_json: bool, values: dict[str, Any], text: str, data: Iterable[object] | None = None) -> None:
    """The command's last words: text for people, or one line of JSON.

    Standard output that is no terminal holds data alone, each on a line: the paths of what was made, or the rows of a
    table. What else the text says goes to standard error. None: the text is what was asked for, all of it.
    """
    if as_json or data is None or sys.stdout.isatty():
        typer.echo(json.dumps(values) if as_json else visible(text))
        return
    lines = [line for one in data for line in visible(str(one)).splitlines()]
    typer.echo("\n".join(line for line in visible(text).splitlines() if line and line not in lines), err=True)
    typer.echo("\n".join(lines))


def skipped_values(prepared: Any, notes: Sequence[str] = ()) -> dict[str, Any]:
    """What is said of data for programs: the files that were skipped, and notes."""
    skipped = list(prepared.skipped)
    return {"skipped": skipped, "num_skipped": len(skipped), "notes": [*prepared.notes, *notes]}


def say_skipped(skipped: Sequence[str]) -> str:
    """How many files were left out as unreadable, and which, the first ten by name; nothing where there are none."""
    return f"\n{len(skipped)} unreadable files skipped: {some(skipped, 10)}" if skipped else ""


@contextmanager
def progress_bar() -> Iterator[Callable[..., None]]:
    """show(what, done, total, extra=""), which draws bars with rate and time left, `extra` behind, on standard error.

    Where that is no terminal it writes a plain line every ten seconds and at each end instead. A total of 0 says `what`
    as a line of its own.
    """
    if not sys.stderr.isatty():
        yield plain_lines()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    counts = (BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}", TimeElapsedColumn(), "<", TimeRemainingColumn())
    columns = ("{task.description:<22}", *counts, "{task.fields[extra]}")
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int, extra: str = "") -> None:
            if not total:
                bars.console.print(visible(what), highlight=False, markup=False)
                return
            if what not in tasks or done < bars.tasks[tasks[what]].completed:  # a second round of the same
                tasks[what] = bars.add_task(escape(visible(what)), total=total, rate="", extra="")
            task = bars.tasks[tasks[what]]
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            bars.update(tasks[what], completed=done, total=total, rate=rate, extra=escape(visible(extra)))

        yield show


def plain_lines() -> Callable[..., None]:
    """The same for logs: a line now and then."""
    started: dict[str, tuple[float, int]] = {}
    said: dict[str, float] = {}

    def show(what: str, done: int, total: int, extra: str = "") -> None:
        if not total:
            sys.stderr.write(visible(what) + "\n")
            return
        now = time.monotonic()
        first, before = started.setdefault(what, (now, done))
        if done < before:  # a second round of the same
            first, before = started[what] = (now, done)
        if done < total and now - said.get(what, first) < SECONDS_BETWEEN_LINES:
            return
        said[what] = now
        rate = (done - before) / (now - first) if now > first else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        line = f"{what}: {done}/{total}{f' ({rate:.1f}/s{left})' if rate else ''} {extra}"
        sys.stderr.write(visible(line).rstrip() + "\n")

    return show


class Command(TyperCommand):
    """A command whose numbers are finite, and none larger than anything can be made of."""

    def invoke(self, ctx: Any) -> Any:
        """Look at the numbers, then run it."""
        for param in self.params:
            check_size(param.name or "", ctx.params.get(param.name), max(param.opts, key=len))
        return super().invoke(ctx)


class ListCommand(Command):
    """A command whose repeatable options take all that follows them, up to the next option."""

    takes: tuple[str, ...] | None = None  # the options that do; None: all that are repeatable
    fits: Any = staticmethod(lambda arg: True)  # whether an argument is a further value

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value, which is what click understands."""
        repeatable = [name for param in self.params if getattr(param, "multiple", False) for name in param.opts]
        return super().parse_args(ctx, spread_values(args, self.takes or repeatable, self.fits))


def spread_values(
    args: Sequence[str], names: Iterable[str], fits: Callable[[str], bool] = lambda arg: True
) -> list[str]:
    """The arguments with `--name a b` written as `--name a --name b` for each of `names`, as far as values fit."""
    found: list[str] = []
    current: str | None = None
    num = 0  # values of the current option so far
    for place, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[place:]]
        if arg.startswith("-") and arg != "-" and not NEGATIVE.match(arg):
            name, equals, _ = arg.partition("=")
            current, num = (name if name in names else None), int(bool(equals))
        elif current is not None:
            if num and not fits(arg):
                current = None
            elif num:
                found.append(current)
            num += 1
        found.append(arg)
    return found


def parse_numbers(option: str, values: Sequence[str] | None, kind: Callable[[str], Any]) -> list[Any]:
    """The values of an option as numbers of a kind."""
    found = []
    for value in split_commas(values):
        try:
            found.append(kind(value))
            check_size(option.strip("-"), found[-1], option)
        except InputError:
            raise
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise typer.BadParameter(f"{value!r} is no {what}", param_hint=f"'{option}'") from None
    return found
