"""The diagnostics during training: small, on fixed seeds, after the preview."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.embeddings import condition_embeddings
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.reporting.report import Medium
from synesthete.io import write_file
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.pipeline import Pipeline

AT_PREVIEWS = ("embeddings", "denoising", "classes", "reconstruction", "reconstruction-sweep")

logger = logging.getLogger(__name__)


class Log(Protocol):
    """What a run is told of its pictures."""

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture of a step."""

    def embedding(self, name: str, vectors: Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
        """Vectors (n, D) and what each is."""


def show_diagnostics(pipeline: Pipeline, prepared: Prepared, folder: Path, step: int, log: Log) -> None:
    """Write what the diagnostics see to `folder/step_N-NAME.png` (and .gif) and to the log.

    A diagnostic that cannot look at this model is left out; one that fails, or a picture that cannot be written, costs
    a line, never the run.
    """
    model = ModelUnderTest(pipeline, prepared, num=8, num_shown=8, num_seeds=2, num_steps=20)
    for name in AT_PREVIEWS:
        with _costs_a_line(step, f"picture of {name}"):
            try:
                items = find_diagnostic(name)(model).items
            except InputError:
                continue
            for medium in items:
                if isinstance(medium, Medium):
                    _write(medium, folder, step, log)
    with _costs_a_line(step, "embeddings"):
        try:
            embeddings = condition_embeddings(model)
        except InputError:
            return
        for found in embeddings:
            log.embedding(found.name, found.vectors, found.metadata())


@contextlib.contextmanager
def _costs_a_line(step: int, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning("step %d: no %s (%s: %s)", step, what, type(error).__name__, error)


def _write(medium: Medium, folder: Path, step: int, log: Log) -> None:
    path = folder / f"step_{step:07d}-{medium.name.replace(' ', '-')}.{medium.kind}"
    write_file(path, medium.content)
    if medium.kind == "png":
        log.picture(medium.name, Image.open(io.BytesIO(medium.content), formats=["PNG"]), step)
