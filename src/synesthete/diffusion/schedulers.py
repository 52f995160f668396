"""Classes of diffusers' schedulers, imported at little cost."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_scheduler_class(name: str) -> Any:
    """The scheduler class of diffusers of that name.

    Importing diffusers imports torch's compiler for a decorator of networks, and its schedulers scipy.stats for the
    quantiles of one spacing: together more than torch itself. The one is left out, the other put off until it is used.
    """
    put_off("scipy.stats")
    with left_out("torch._dynamo"):  # diffusers does without where it is not installed
        import diffusers

        return getattr(diffusers, name)


@contextlib.contextmanager
def left_out(name: str) -> Iterator[None]:
    """Importing a module fails in here, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def put_off(name: str) -> None:
    """Let a module be imported now and run when something in it is asked for, unless it was imported before."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
