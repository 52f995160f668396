"""Arguments that several commands share, and how they speak to the terminal."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A recipe's name (see `synesthete recipes`), a YAML file or a run folder."),
]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run folder, a model folder, a Hub id, or the name of a shipped model.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be given several times."),
]
DataFolder = Annotated[Path | None, typer.Option(help="Where `prepare --out` put the data; the cache by default.")]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, mps; auto is CUDA where there is some. The noise is the same on all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

SECONDS_BETWEEN_LINES = 10.0


def finish(as_json: bool, values: dict[str, Any], text: str = "") -> None:
    """The command's last words: text for people, or one line of JSON."""
    typer.echo(json.dumps(values) if as_json else text)


def check_unwritten(paths: Sequence[Path], overwrite: bool) -> None:
    """Make sure that no file is replaced unasked.

    Raises:
        InputError: one that is there already.
    """
    if not overwrite and (there := [path for path in paths if path.exists()]):
        count = f"{len(there)} of {len(paths)} files"
        raise InputError(f"{there[0]}: there already ({count}); give --overwrite or another --out")


def say_skipped(skipped: Sequence[str], num: int = 10) -> str:
    """How many files were left out as unreadable, and which, the first `num` by name; nothing where there are none."""
    if not skipped:
        return ""
    more = f" and {len(skipped) - num} more" if len(skipped) > num else ""
    return f"\n{len(skipped)} unreadable files skipped: {', '.join(skipped[:num])}{more}"


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int, str], None]]:
    """A function `show(what, done, total, extra)` that draws bars with rate and time left, on standard error.

    Where standard error is no terminal it writes a plain line every ten seconds and at each end instead. A total of 0
    says `what` as a line of its own.
    """
    if not sys.stderr.isatty():
        yield plain_lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int, extra: str = "") -> None:
            if not total:
                bars.console.print(what, highlight=False)
                return
            if what not in tasks or done < bars.tasks[tasks[what]].completed:  # a second round of the same
                tasks[what] = bars.add_task(what, total=total, rate="", extra="")
            task = bars.tasks[tasks[what]]
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            bars.update(tasks[what], completed=done, total=total, rate=rate, extra=extra)

        yield show


def plain_lines() -> Callable[[str, int, int, str], None]:
    """The same for logs: a line now and then."""
    started: dict[str, tuple[float, int]] = {}
    said: dict[str, float] = {}

    def show(what: str, done: int, total: int, extra: str = "") -> None:
        if not total:
            sys.stderr.write(what + "\n")
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
        sys.stderr.write(f"{what}: {done}/{total}{f' ({rate:.1f}/s{left})' if rate else ''} {extra}".rstrip() + "\n")

    return show
