"""What a stage of training minimises: an objective holds the parts it trains and turns a batch into named losses."""

from synesthete.objectives.alignment import Alignment
from synesthete.objectives.autoencoding import Autoencoding
from synesthete.objectives.denoising import Denoising, Distillation, Objective, Parts
from synesthete.objectives.vocoding import Vocoding

__all__ = ["Alignment", "Autoencoding", "Denoising", "Distillation", "Objective", "Parts", "Vocoding"]
