"""Options that take several values: `--cfg 0 1.5 3`, `--cfg 0,1.5,3` and `--cfg 0 --cfg 1.5` say the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NEGATIVE = re.compile(r"-\.?\d")  # a value, not an option


class ListCommand(TyperCommand):
    """A command whose repeatable options take all that follows them, up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value, which is what click understands."""
        names = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        return super().parse_args(ctx, spread(args, names))


class NumbersCommand(TyperCommand):
    """A command whose option --strengths takes all numbers that follow it; other arguments may come after them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further number."""
        return super().parse_args(ctx, spread(args, ("--strengths",), is_number))


def is_number(arg: str) -> bool:
    """Whether an argument is a number, or several with commas between them."""
    return bool(re.fullmatch(r"[-+.,\deE]*\d[-+.,\deE]*", arg))


def spread(args: Sequence[str], names: Iterable[str], fits: Callable[[str], bool] = lambda arg: True) -> list[str]:
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


def listed(values: Sequence[str] | None, known: Sequence[str] = ()) -> list[str]:
    """The values with those that have commas taken apart, unless they are `known` as they stand."""
    found: list[str] = []
    for value in values or ():
        found += [value] if value in known else [part.strip() for part in value.split(",") if part.strip()]
    return found


def numbers(option: str, values: Sequence[str] | None, kind: Callable[[str], Any]) -> list[Any]:
    """The values of an option as numbers of a kind.

    Raises:
        typer.BadParameter: one that is none.
    """
    found = []
    for value in listed(values):
        try:
            found.append(kind(value))
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise typer.BadParameter(f"{value!r} is no {what}", param_hint=f"'{option}'") from None
    return found
