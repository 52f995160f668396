"""What one step of the network gets wrong on the way from clean to noise, and what a guess without a network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete import seeding
from synesthete.data.labelled import in_turn
from synesthete.evaluation.diagnostics.model_under_test import BATCH_SIZE, labels_of
from synesthete.objectives import prediction_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.diffusion.process import Process
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.types import Batch

# Of the way to noise; closer together near both ends, where errors change fastest.
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
NUM_MEASURED = 500  # training samples that mean and variance of the data are measured on


@dataclass(frozen=True)
class Trace:
    """Mean square errors of n samples, (fractions, n): in the loss space, and of x_0."""

    loss: Tensor
    x_0: Tensor


@torch.no_grad()
def trace(model: ModelUnderTest, x_0: Tensor, raw: Tensor | None, fractions: Sequence[float] = FRACTIONS) -> Trace:
    """The network's errors at x_0 (n, C, H, W) under the model's noise 0 to n - 1, the same at every fraction.

    raw: what the network is told (n, ...); None tells it nothing.
    """
    pipeline, process = model.pipeline, model.pipeline.process
    noise = model.noise(len(x_0)).to(x_0.device)
    found: list[Trace] = []
    for places in torch.arange(len(x_0), device=x_0.device).split(BATCH_SIZE):
        own, num = x_0[places], len(places)
        if raw is None:
            condition = pipeline.conditioner.null(num)
        else:
            condition = pipeline.conditioner.encode(raw[places.cpu()].to(x_0.device))
        condition = pipeline.denoiser.precompute(condition)
        loss, wrong = [], []
        for fraction in fractions:
            timestep = process.at(torch.full((num,), fraction)).to(x_0.device)
            x_t = process.add_noise(own, noise[places], timestep)
            prediction = pipeline.denoiser(x_t.to(pipeline.denoiser.dtype), timestep, condition).float()
            loss.append(prediction_error(process, prediction, own, noise[places], x_t, timestep))
            guess = process.convert(prediction, x_t, timestep, "sample")
            wrong.append(_mean_square(guess - own))
        found.append(Trace(torch.stack(loss).cpu(), torch.stack(wrong).cpu()))
    return Trace(torch.cat([part.loss for part in found], dim=1), torch.cat([part.x_0 for part in found], dim=1))


@torch.no_grad()
def trace_shrinking(model: ModelUnderTest, x_0: Tensor, fractions: Sequence[float] = FRACTIONS) -> Trace:
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
    return Trace(torch.stack(gains) * errors, errors)


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
    places = in_turn(labels_of(samples), model.seed)[:num]
    return samples.batch(places, seeding.generator(model.seed, "training"))


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(dim=1)
