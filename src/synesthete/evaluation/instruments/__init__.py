"""Instruments: what one looks at to see how a model does, each a function of a subject that returns a section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.instruments.classes import classes
from synesthete.evaluation.instruments.denoising import denoising
from synesthete.evaluation.instruments.embeddings import embeddings
from synesthete.evaluation.instruments.guidance import guidance
from synesthete.evaluation.instruments.loss_by_timestep import loss_by_timestep
from synesthete.evaluation.instruments.neighbours import neighbours
from synesthete.evaluation.instruments.reconstruction import reconstruction, reconstruction_sweep
from synesthete.evaluation.instruments.sensitivity_by_timestep import sensitivity_by_timestep
from synesthete.evaluation.instruments.spectrum import spectrum

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.evaluation.instruments.subject import Subject
    from synesthete.evaluation.report import Section

    Instrument = Callable[[Subject], Section]

# In the order they are shown. One that cannot look at a subject raises InputError, in one line.
INSTRUMENTS: dict[str, Instrument] = {
    "embeddings": embeddings,
    "denoising": denoising,
    "classes": classes,
    "reconstruction": reconstruction,
    "reconstruction-sweep": reconstruction_sweep,
    "loss-by-timestep": loss_by_timestep,
    "sensitivity-by-timestep": sensitivity_by_timestep,
    "guidance": guidance,
    "neighbours": neighbours,
    "spectrum": spectrum,
}
