"""What a stage of training minimises: an objective holds the parts it trains and turns a batch into named losses."""

from synesthete.objectives.alignment import Alignment, SpectrogramEncoder
from synesthete.objectives.autoencoding import Autoencoding, RoundTrip, log_spectral_distance, measure_round_trip
from synesthete.objectives.denoising import Denoising, Objective, Parts, denoising_error, prediction_error
from synesthete.objectives.one_step import (
    DEAD_SENSITIVITY,
    LAGGING,
    LARGE_GAP,
    Gap,
    StepErrors,
    condition_sensitivity,
    errors_by_condition,
    fixed_error,
    fixed_loss,
    generalisation_gap,
    losses_by_source,
    measure_gap,
    percent,
    predict_x_0,
    step_errors,
)
from synesthete.objectives.ranges import DataRange, Range, Verdict, data_range, value_range
from synesthete.objectives.vocoding import SpectralDistance, SpectrogramDiscriminator, Vocoding, spectral_distance

__all__ = [
    "DEAD_SENSITIVITY",
    "LAGGING",
    "LARGE_GAP",
    "Alignment",
    "Autoencoding",
    "DataRange",
    "Denoising",
    "Gap",
    "Objective",
    "Parts",
    "Range",
    "RoundTrip",
    "SpectralDistance",
    "SpectrogramDiscriminator",
    "SpectrogramEncoder",
    "StepErrors",
    "Verdict",
    "Vocoding",
    "condition_sensitivity",
    "data_range",
    "denoising_error",
    "errors_by_condition",
    "fixed_error",
    "fixed_loss",
    "generalisation_gap",
    "log_spectral_distance",
    "losses_by_source",
    "measure_gap",
    "measure_round_trip",
    "percent",
    "predict_x_0",
    "prediction_error",
    "spectral_distance",
    "step_errors",
    "value_range",
]
