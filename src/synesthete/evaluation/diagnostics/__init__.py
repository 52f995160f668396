"""Diagnostics: what shows how a model does, each a function of a `ModelUnderTest` that returns a section of a report.

A diagnostic that cannot look at a model raises InputError, in one line.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from synesthete.config.build import suggestion
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.evaluation.reporting.report import Section

    Diagnostic = Callable[[ModelUnderTest], Section]

__all__ = ["DIAGNOSTICS", "find_diagnostic", "register_diagnostic"]

# In the order they are shown. Those of this package by "module:function", so that asking for names imports nothing.
DIAGNOSTICS: dict[str, str | Diagnostic] = {
    "embeddings": "embeddings:embeddings",
    "denoising": "sampling:denoising",
    "classes": "sampling:classes",
    "reconstruction": "by_timestep:reconstruction",
    "reconstruction-sweep": "by_timestep:reconstruction_sweep",
    "loss-by-timestep": "by_timestep:loss_by_timestep",
    "sensitivity-by-timestep": "by_timestep:sensitivity_by_timestep",
    "fine-structure": "fine_structure:fine_structure",
    "guidance": "sampling:guidance",
    "neighbours": "pictures:neighbours",
    "spectrum": "pictures:spectrum",
}


def register_diagnostic(name: str, diagnostic: Diagnostic) -> None:
    """Make a diagnostic known by its name, which no other has, from anywhere: `diagnose` uses it and names it."""
    if DIAGNOSTICS.setdefault(name, diagnostic) is not diagnostic:
        raise InputError(f"there is a diagnostic {name!r} already; give yours another name")


def find_diagnostic(name: str) -> Diagnostic:
    """A diagnostic by its name; InputError of an unknown one names the nearest that there is."""
    if name not in DIAGNOSTICS:
        raise InputError(f"diagnose has no diagnostic {name!r}{suggestion(name, list(DIAGNOSTICS))}")
    if isinstance(found := DIAGNOSTICS[name], str):
        module, _, function = found.partition(":")
        found = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return found
