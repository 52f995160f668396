"""The instruments during training: small, on fixed seeds, after the preview."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from synesthete.evaluation.instruments import INSTRUMENTS
from synesthete.evaluation.instruments.embeddings import condition_embeddings
from synesthete.evaluation.instruments.subject import Subject
from synesthete.evaluation.report import Medium
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.pipeline import Pipeline
    from synesthete.preparation import Prepared

WATCHED = ("embeddings", "denoising", "classes", "reconstruction", "reconstruction-sweep")

logger = logging.getLogger(__name__)


class Log(Protocol):
    """What a run is told of its pictures."""

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture of a step."""

    def embedding(self, name: str, vectors: Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
        """Vectors (n, D) and what each is."""


def watch(pipeline: Pipeline, prepared: Prepared, folder: Path, step: int, log: Log) -> None:
    """Write what the instruments see to `folder/step_N-NAME.png` (and .gif) and to the log.

    An instrument that cannot look at this model is left out; one that fails costs a line, never the run.
    """
    subject = Subject(pipeline, prepared, num=8, num_shown=8, num_seeds=2, num_steps=20)
    for name in WATCHED:
        try:
            shown = [item for item in INSTRUMENTS[name](subject).items if isinstance(item, Medium)]
        except InputError:
            continue
        except Exception as error:
            logger.warning("step %d: no picture of %s (%s: %s)", step, name, type(error).__name__, error)
            continue
        for medium in shown:
            path = folder / f"step_{step:07d}-{medium.name.replace(' ', '-')}.{medium.kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(medium.content)
            if medium.kind == "png":
                log.picture(medium.name, Image.open(io.BytesIO(medium.content)), step)
    if subject.is_conditional:
        for found in condition_embeddings(subject):
            log.embedding(found.name, found.vectors, found.metadata())
