"""Builds as plain values, and back: what stands in YAML."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from synesthete.config.build import Build
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "synesthete"
CLASS_KEY = "class"


def plain(value: Any) -> Any:
    """Builds, dataclasses and tuples as dictionaries and lists."""
    if isinstance(value, Build):
        target = value.target
        return {CLASS_KEY: f"{target.__module__}.{target.__qualname__}"} | {
            k: plain(v) for k, v in value.fields.items()
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def resolved(value: Any, where: str) -> Any:
    """The inverse of `plain` for builds; only classes of this package are imported."""
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


def find_class(path: Any) -> Callable[..., Any]:
    """The class of this package at a dotted path.

    Raises:
        InputError: a path outside the package, or with nothing there.
    """
    module_name, _, name = str(path).rpartition(".")
    if module_name.split(".")[0] != PACKAGE:
        raise InputError(f"{path!r} is not a class of {PACKAGE}; a recipe may name no other")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        raise InputError(f"{path!r}: no such class in this version of {PACKAGE}") from None
    if not inspect.isclass(found) or not found.__module__.startswith(f"{PACKAGE}."):
        raise InputError(f"{path!r} is not a class of {PACKAGE}; a recipe may name no other")
    return found
