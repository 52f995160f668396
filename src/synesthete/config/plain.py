"""Builds as plain values, and back: what stands in YAML."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from synesthete.config.build import Build
from synesthete.config.registry import class_name, find_class
from synesthete.types import InputError

CLASS_KEY = "class"


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
