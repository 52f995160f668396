"""A part inside another: the class and fields that its config.json keeps of it, and the part made again of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synesthete.config.plain import CLASS_KEY
from synesthete.config.registry import class_name, find_class
from synesthete.types import InputError


def restore_nested(part: Any, where: str, what: str, has: tuple[str, ...], such_as: str) -> Any:
    """A part from what `describe_nested` said of it, or the part that was given.

    where: the field it is given as, `codec.base`. what: it has to be, `codec`. has: what makes it one, beside what
    every part has. such_as: the class to name where it is none.

    Raises:
        InputError: a part without one of `has`, or a class that is neither of this package nor registered.
    """
    given = not isinstance(part, Mapping)
    kind: Any = type(part) if given else find_class(part.get(CLASS_KEY))
    if not all(hasattr(kind, name) for name in ("save_pretrained", *has)):
        raise InputError(f"{where}: {kind.__name__} is no {what}; give one such as {such_as}")
    return part if given else kind(**{name: value for name, value in part.items() if name != CLASS_KEY})


def describe_nested(part: Any) -> dict[str, Any]:
    """A part as its class and the fields of its constructor, plain values."""
    return {CLASS_KEY: class_name(type(part)), **part.fields}
