"""What one step of the network gets wrong at given noise and timesteps, and what follows from that.

Whether the model uses its condition, and whether it knows its training samples by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from synesthete.objectives.denoising import Parts
    from synesthete.types import Batch, Condition

GAP_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the way to noise
SENSITIVITY_FRACTIONS = (0.5, 0.7, 0.9, 0.97)  # near noise, where the condition is what decides
# A condition that changes the error by less than this share of it is not being used.
DEAD_SENSITIVITY = 0.005
# Averaged weights whose loss is more than this share above that of the weights themselves lag behind.
LAGGING = 0.1
LARGE_GAP = 0.1  # of the training loss; what is surely more is over-fitting


class StepErrors(NamedTuple):
    """Mean square errors of each sample, (fractions, B): of x_0, and in the process' loss space."""

    x_0: Tensor
    loss: Tensor

    @staticmethod
    def concatenate(parts: Sequence[StepErrors]) -> StepErrors:
        """The errors of all samples, one batch after the other."""
        return StepErrors(*(torch.cat(kind, dim=1) for kind in zip(*parts, strict=True)))


@torch.no_grad()
def predict_x_0(parts: Any, x_0: Tensor, noise: Tensor, condition: Condition, fraction: float) -> tuple[Tensor, Tensor]:
    """x_0 (B, ...) noised to `fraction` of the way -> (the network's guess of it (B, ...), its loss (B,))."""
    process = parts.process
    timestep = process.at(torch.full((len(x_0),), fraction)).to(x_0.device)
    x_t = process.add_noise(x_0, noise, timestep)
    prediction = process.predict(parts.denoiser, x_t, timestep, condition)
    guess = process.convert(prediction, x_t, timestep, "sample")
    return guess, process.error(prediction, x_0, noise, x_t, timestep)


@torch.no_grad()
def step_errors(
    parts: Any,
    x_0: Tensor,
    noise: Tensor,
    condition: Condition,
    fractions: Sequence[float],
    at_once: int | None = None,
) -> StepErrors:
    """The errors at x_0 (B, ...) under one noise (B, ...) at every fraction of the way to it.

    fractions: 0.3 is t = 300 of 1000. at_once, here and below: samples that go through the denoiser together; None:
    all. What is drawn for a sample does not depend on it.
    """
    found = []
    for run in split(len(x_0), at_once):
        told = condition[run]
        told = parts.denoiser.precompute(told) if told.keys_values is None else told
        steps = [predict_x_0(parts, x_0[run], noise[run], told, fraction) for fraction in fractions]
        wrong = [(guess - x_0[run]).square().flatten(1).mean(dim=1) for guess, _ in steps]
        found.append(StepErrors(torch.stack(wrong), torch.stack([loss for _, loss in steps])))
    return StepErrors.concatenate(found)


@torch.no_grad()
def errors_by_condition(
    parts: Any,
    x_0: Tensor,
    noise: Tensor,
    conditions: Mapping[str, Any],
    fractions: Sequence[float],
    at_once: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, StepErrors]:
    """`step_errors` under each of several conditions, on the CPU, `at_once` samples encoded and denoised at a time.

    conditions: what is told of the samples by name, raw (B, ...); None tells nothing. progress(done, total).
    """
    device, conditioner = parts.denoiser.device, parts.conditioner
    found: dict[str, list[StepErrors]] = {name: [] for name in conditions}
    for run in split(len(x_0), at_once):
        own, drawn = x_0[run].to(device), noise[run].to(device)
        for name, raw in conditions.items():
            told = conditioner.null(len(own)) if raw is None else conditioner.encode(raw[run].to(device))
            errors = step_errors(parts, own, drawn, told, fractions)
            found[name].append(StepErrors(*(error.cpu() for error in errors)))
        progress(run.stop, len(x_0))
    return {name: StepErrors.concatenate(errors) for name, errors in found.items()}


def split(num: int, at_once: int | None) -> list[slice]:
    """Runs of at most `at_once` of `num` samples, one after the other; None: one of all."""
    size = max(1, num if at_once is None else at_once)
    return [slice(first, min(first + size, num)) for first in range(0, max(1, num), size)]


def fixed_noise(x_0: Tensor, seed: int) -> Tensor:
    """Noise like x_0 that is the same in every run, drawn on the CPU."""
    return torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed)).to(x_0.device)


def fixed_error(
    parts: Any,
    x_0: Tensor,
    condition: Condition,
    fractions: Sequence[float] = (0.3, 0.5, 0.8),
    seed: int = 0,
    at_once: int | None = None,
) -> Tensor:
    """x_0-space error of each sample at fixed noise and timesteps, (fractions, B): the figure to compare runs by."""
    return step_errors(parts, x_0, fixed_noise(x_0, seed), condition, fractions, at_once).x_0


@torch.no_grad()
def fixed_loss(parts: Parts, batch: Batch, at_once: int | None = None) -> Tensor:
    """The loss of each sample at fixed noise and timesteps, (fractions, B), in the process' loss space."""
    x_0, condition = batch.encode(parts.codec), parts.conditioner.encode(batch.raw)
    return step_errors(parts, x_0, fixed_noise(x_0, 0), condition, GAP_FRACTIONS, at_once).loss


@torch.no_grad()
def condition_sensitivity(parts: Parts, batch: Batch, seed: int = 0, at_once: int | None = None) -> dict[str, float]:
    """How much worse the model does when told of the wrong samples (DESIGN law 9).

    Each sample is shown the condition of another class' sample (a shift through the batch sorted by class). Returns
    {"right", "wrong", "sensitivity"}: mean x_0 errors and their difference, over fixed noise and timesteps.
    """
    x_0, condition = batch.encode(parts.codec), parts.conditioner.encode(batch.raw)
    right, wrong = (
        fixed_error(parts, x_0, told, SENSITIVITY_FRACTIONS, seed, at_once).mean().item()
        for told in (condition, condition[of_others(batch.label)])
    )
    return {"right": right, "wrong": wrong, "sensitivity": wrong - right}


def of_others(label: Tensor) -> Tensor:
    """For each sample (B,) the place of one of another class, each taken once."""
    order = label.argsort(stable=True)
    largest = int(torch.bincount(label).max())
    shift = largest if largest < len(order) else 1  # without classes, what any other sample is told is wrong
    wrong = torch.empty_like(order)
    wrong[order] = order.roll(-shift)
    return wrong


def losses_by_source(parts: Parts, batch: Batch, at_once: int | None = None) -> dict[str, float]:
    """Mean `fixed_loss` of a model that reads text and sound, told less than it might be; empty for any other.

    no_sound, other_sound (of a sample of another class), no_text: which of these are told in place of the whole.
    """
    raw = batch.raw
    if parts.conditioner.reads != "audio_text" or raw.sound is None:
        return {}
    told = {"other_sound": replace(raw, sound=raw.sound[of_others(batch.label)])}
    if raw.text is not None:
        told = {"no_sound": replace(raw, sound=None), **told, "no_text": replace(raw, text=None)}
    return {name: fixed_loss(parts, replace(batch, raw=less), at_once).mean().item() for name, less in told.items()}


@dataclass(frozen=True)
class Gap:
    """Mean losses of samples trained on and held out; the difference as a share of the former, and its 95% interval."""

    training: float
    held_out: float
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Whether the model over-fits, in plain words."""
        figures = f"loss {self.held_out:.4g} held out, {self.training:.4g} in training, {percent(self.share)}"
        figures += f" (95%: {percent(self.low)} to {percent(self.high)})"
        if self.low > LARGE_GAP:
            return f"the model over-fits: {figures}"
        if self.low > 0:
            return f"the model over-fits a little: {figures}"
        if not self.high <= LARGE_GAP:
            return f"too few samples to tell whether the model over-fits: {figures}"
        return f"the model does not over-fit: {figures}"


def percent(share: float) -> str:
    """A share as a signed percentage."""
    return f"{100 * share:+.0f}%" if math.isfinite(share) else "unknown"


def measure_gap(seen: Tensor, held_out: Tensor) -> Gap:
    """From losses (fractions, n) of samples trained on and (fractions, m) of others, over the same fractions."""
    ours, theirs = seen.double().mean(dim=0), held_out.double().mean(dim=0)
    enough = min(len(ours), len(theirs)) > 1
    error = math.hypot(*(x.std().item() / math.sqrt(len(x)) for x in (ours, theirs))) if enough else math.inf
    a, b, half = ours.mean().item(), theirs.mean().item(), 1.96 * error
    base = max(a, 1e-12)
    return Gap(a, b, (b - a) / base, (b - a - half) / base, (b - a + half) / base)


def generalisation_gap(parts: Parts, seen: Batch, held_out: Batch, at_once: int | None = None) -> Gap:
    """How much better the model does on samples that it was trained on, on the same fixed noise and timesteps."""
    return measure_gap(*(fixed_loss(parts, batch, at_once) for batch in (seen, held_out)))
