"""Synesthete: one diffusion toolkit in which pictures speak, sounds paint and spectrograms play."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The version, and every class that a recipe or a model may name, imported when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("synesthete")
    if name == "ModelMixin":  # what a part is loaded by: diffusers looks for it beside the part
        from diffusers import ModelMixin

        return ModelMixin
    if name[:1].isupper():
        from synesthete.config.registry import find_class
        from synesthete.types import InputError

        try:
            return find_class(name)
        except InputError as error:
            raise AttributeError(str(error)) from None
    raise AttributeError(f"module 'synesthete' has no attribute {name!r}")
