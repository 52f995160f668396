"""Finished models: one, two that work one after the other, and sound of any length from either."""

from synesthete.pipeline.canvas import Canvas
from synesthete.pipeline.cascade import Cascade
from synesthete.pipeline.long_form import long_form_steps, sample_long_form
from synesthete.pipeline.pipeline import Output, Pipeline

__all__ = ["Canvas", "Cascade", "Output", "Pipeline", "long_form_steps", "sample_long_form"]
