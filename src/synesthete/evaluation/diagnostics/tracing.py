"""What one step of the network gets wrong on the way from clean to noise, and what a guess without a network does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.labelled import in_turn
from synesthete.evaluation.diagnostics.model_under_test import BATCH_SIZE
from synesthete.objectives import StepErrors, errors_by_condition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from synesthete.diffusion.process import Process
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.types import Batch

# Of the way to noise; closer together near both ends, where errors change fastest.
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
NUM_MEASURED = 500  # training samples that mean and variance of the data are measured on


def trace(
    model: ModelUnderTest, x_0: Tensor, conditions: Mapping[str, Any], fractions: Sequence[float] = FRACTIONS
) -> dict[str, StepErrors]:
    """The network's errors at x_0 (n, C, H, W) under the model's noise 0 to n - 1, the same at every fraction.

    conditions: what the network is told by name, raw (n, ...); None tells it nothing.
    """
    return errors_by_condition(model.pipeline, x_0, model.noise(len(x_0)), conditions, fractions, BATCH_SIZE)


@torch.no_grad()
def trace_shrinking(model: ModelUnderTest, x_0: Tensor, fractions: Sequence[float] = FRACTIONS) -> StepErrors:
    """The errors of a guess that takes no network: every pixel of x_t, by itself, drawn towards its mean.

    The best linear guess from that pixel alone (Wiener), by mean and variance over training samples. At noise it is the
    mean sample.
    """
    process = model.pipeline.process
    known = model.x_0(training(model, NUM_MEASURED))
    mean, variance = known.mean(dim=0), known.var(dim=0, correction=0)  # (C, H, W)
    noise = model.noise(len(x_0)).to(x_0.device)
    wrong, gains = [], []
    for fraction in fractions:
        timestep = process.at(torch.full((len(x_0),), fraction)).to(x_0.device)
        alpha, sigma = process.alpha_sigma(timestep)
        x_t = process.add_noise(x_0, noise, timestep)
        guess = mean + alpha * variance / (alpha**2 * variance + sigma**2).clamp(min=1e-12) * (x_t - alpha * mean)
        wrong.append(_mean_square(guess - x_0).cpu())
        gains.append(loss_gain(process, timestep).cpu())
    errors = torch.stack(wrong)
    return StepErrors(errors, torch.stack(gains) * errors)


def loss_gain(process: Process, timestep: Tensor) -> Tensor:
    """How much larger a square error is in the loss space than in x_0, at timesteps (B,).

    At a given x_t an error d in x_0 comes with one of -alpha / sigma d in the noise, and every space is linear in both.
    """
    alpha, sigma = process.alpha_sigma(timestep)
    held = process.min_sigma if process.prediction_type == "sample" else 1e-4
    gain = process.target(torch.ones_like(alpha), -alpha / sigma.clamp(min=held), timestep)
    return gain.square().flatten()


def training(model: ModelUnderTest, num: int) -> Batch:
    """Samples that the model was trained on, as they are, not augmented; the classes take turns."""
    samples = model.prepared.train.plain()
    places = in_turn(samples.labels, model.seed)[:num]
    return samples.batch(places, seeding.generator(model.seed, "training"))


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(dim=1)
