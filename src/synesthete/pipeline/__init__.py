"""Finished models: one, two that work one after the other, and sound of any length from either."""

from synesthete.pipeline.canvas import Canvas, blank, continued, gapped, varied
from synesthete.pipeline.cascade import Cascade
from synesthete.pipeline.painting import paint, painting
from synesthete.pipeline.pipeline import Output, Pipeline

__all__ = [
    "Canvas",
    "Cascade",
    "Output",
    "Pipeline",
    "blank",
    "continued",
    "gapped",
    "paint",
    "painting",
    "varied",
]
