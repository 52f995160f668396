"""Builds, and parts inside others, as plain values, and back: what stands in YAML and in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from synesthete.config.build import CLASS_KEY, Build
from synesthete.config.registry import class_name, find_class
from synesthete.types import InputError


def plain(value: Any) -> Any:
    """Builds, dataclasses and tuples as dictionaries and lists."""
    if isinstance(value, Build):
        return {CLASS_KEY: class_name(value.target)} | {k: plain(v) for k, v in value.fields.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def resolved(value: Any, where: str) -> Any:
    """The inverse of `plain` for builds; only classes that the registry knows are imported."""
    if isinstance(value, dict) and CLASS_KEY in value:
        arguments = {key: resolved(item, where) for key, item in value.items() if key != CLASS_KEY}
        try:
            return Build(find_class(value[CLASS_KEY]), **arguments)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if isinstance(value, list):
        return [resolved(item, where) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item, where) for key, item in value.items()}
    return value


def restore_nested(part: Any, where: str, what: str, has: tuple[str, ...], such_as: str) -> Any:
    """A part from what `describe_nested` said of it, or the part that was given.

    where: the field it is given as, `codec.base`. what: it has to be, `codec`. has: what makes it one, beside what
    every part has. such_as: the class to name where it is none.

    Raises:
        InputError: a part without one of `has`, a class that is neither of this package nor registered, or fields that
            it does not have.
    """
    given = not isinstance(part, Mapping)
    kind: Any = type(part) if given else find_class(part.get(CLASS_KEY))
    if not all(hasattr(kind, name) for name in ("save_pretrained", *has)):
        raise InputError(f"{where}: {kind.__name__} is no {what}; give one such as {such_as}")
    return part if given else Build(kind, **{name: value for name, value in part.items() if name != CLASS_KEY})()


def describe_nested(part: Any) -> dict[str, Any]:
    """A part as its class and the fields of its constructor, plain values."""
    return {CLASS_KEY: class_name(type(part)), **part.fields}
