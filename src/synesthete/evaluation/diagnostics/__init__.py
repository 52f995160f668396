"""Diagnostics: what one looks at to see how a model does, each a function of a model that returns a section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.diagnostics.classes import classes
from synesthete.evaluation.diagnostics.denoising import denoising
from synesthete.evaluation.diagnostics.embeddings import embeddings
from synesthete.evaluation.diagnostics.guidance import guidance
from synesthete.evaluation.diagnostics.loss_by_timestep import loss_by_timestep
from synesthete.evaluation.diagnostics.neighbours import neighbours
from synesthete.evaluation.diagnostics.reconstruction import reconstruction, reconstruction_sweep
from synesthete.evaluation.diagnostics.sensitivity_by_timestep import sensitivity_by_timestep
from synesthete.evaluation.diagnostics.spectrum import spectrum

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.evaluation.reporting.report import Section

    Diagnostic = Callable[[ModelUnderTest], Section]

# In the order they are shown. One that cannot look at a model raises InputError, in one line.
DIAGNOSTICS: dict[str, Diagnostic] = {
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
