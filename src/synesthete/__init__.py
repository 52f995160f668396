"""Synesthete: one diffusion toolkit in which pictures speak, sounds paint and spectrograms play."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synesthete.tasks.model import Model

__all__ = ["__version__", "load"]

__version__: str
"""Of the installed package."""


def load(name: str, device: str = "cpu", engine: str = "torch") -> Model:
    """A model to be called: `synesthete.load("image-to-speech-digits")("seven.png")`.

    name: a run folder, a model folder, a Hub id, adapters, or a shipped model. device: as `Pipeline.load`. engine: what
        computes the denoiser, torch or onnx, which is onnxruntime on the CPU.

    Raises:
        InputError: no such model, device or engine, an engine that is not installed, or damaged files.
    """
    from synesthete.tasks.model import load

    return load(name, device, engine)


def __getattr__(name: str) -> Any:
    """The version, and every class that a recipe or a model may name, imported when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("synesthete")
    if name[:1].isupper():
        from synesthete.config.document import find_class
        from synesthete.types import InputError

        try:
            return find_class(name)
        except InputError as error:
            raise AttributeError(str(error)) from None
    raise AttributeError(f"module 'synesthete' has no attribute {name!r}")
