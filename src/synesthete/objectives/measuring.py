"""How well a model denoises, on fixed noise: what it learned of its condition, and what it knows by heart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete.objectives.denoising import denoising_error

if TYPE_CHECKING:
    from synesthete.objectives.objective import Parts
    from synesthete.types import Batch, Condition

GAP_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the way to noise
# A condition that changes the error by less than this share of it is not being used.
DEAD_SENSITIVITY = 0.005
# Averaged weights whose loss is more than this share above that of the weights themselves lag behind.
LAGGING = 0.1
LARGE_GAP = 0.1  # of the training loss; what is surely more is over-fitting


@torch.no_grad()
def fixed_error(
    parts: Parts,
    x_0: torch.Tensor,
    condition: Condition,
    fractions: tuple[float, ...] = (0.3, 0.5, 0.8),
    seed: int = 0,
    at_once: int | None = None,
) -> torch.Tensor:
    """x_0-space error of each sample at fixed noise and timesteps, (fractions, B): the figure to compare runs by.

    fractions: of the way to noise; 0.3 is t = 300 of 1000. at_once: samples that go through the denoiser together;
    None: all. What is drawn for a sample does not depend on it.
    """
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed)).to(x_0.device)
    runs = split(len(x_0), at_once)
    return torch.cat([_errors(parts, x_0[run], noise[run], condition[run], fractions) for run in runs], dim=1)


def split(num: int, at_once: int | None) -> list[slice]:
    """Runs of at most `at_once` of `num` samples, one after the other; None: one of all."""
    size = max(1, num if at_once is None else at_once)
    return [slice(first, min(first + size, num)) for first in range(0, max(1, num), size)]


def _errors(
    parts: Parts, x_0: torch.Tensor, noise: torch.Tensor, condition: Condition, fractions: tuple[float, ...]
) -> torch.Tensor:
    condition = parts.denoiser.precompute(condition) if condition.keys_values is None else condition
    errors = []
    for fraction in fractions:
        timestep = parts.process.at(torch.full((len(x_0),), fraction)).to(x_0.device)
        x_t = parts.process.add_noise(x_0, noise, timestep)
        prediction = parts.denoiser(x_t, timestep, condition).float()
        guess = parts.process.convert(prediction, x_t, timestep, "sample")
        errors.append((guess - x_0).square().flatten(1).mean(dim=1))
    return torch.stack(errors)


@torch.no_grad()
def condition_sensitivity(
    parts: Parts,
    batch: Batch,
    fractions: tuple[float, ...] = (0.5, 0.7, 0.9, 0.97),
    seed: int = 0,
    at_once: int | None = None,
) -> dict[str, float]:
    """How much worse the model does when told of the wrong samples (DESIGN law 9).

    Each sample is shown the condition of another class' sample (a shift through the batch sorted by class). Returns
    {"right", "wrong", "sensitivity"}: mean x_0 errors and their difference, over fixed noise and timesteps near noise,
    where the condition is what decides. at_once: as `fixed_error`.
    """
    wrong = of_others(batch.label)
    x_0 = batch.signal if batch.encoded else parts.codec.encode(batch.signal)
    condition = parts.conditioner.encode(batch.raw)
    right_error = fixed_error(parts, x_0, condition, fractions, seed, at_once).mean().item()
    wrong_error = fixed_error(parts, x_0, condition[wrong], fractions, seed, at_once).mean().item()
    return {"right": right_error, "wrong": wrong_error, "sensitivity": wrong_error - right_error}


def of_others(label: torch.Tensor) -> torch.Tensor:
    """For each sample (B,) the place of one of another class, each taken once."""
    order = label.argsort(stable=True)
    largest = int(torch.bincount(label).max())
    shift = largest if largest < len(order) else 1  # without classes, what any other sample is told is wrong
    wrong = torch.empty_like(order)
    wrong[order] = order.roll(-shift)
    return wrong


@torch.no_grad()
def losses_by_source(parts: Parts, batch: Batch, at_once: int | None = None) -> dict[str, float]:
    """Mean `fixed_loss` of a model that reads text and sound, told less than it might be; empty for any other.

    no_sound, other_sound (of a sample of another class), no_text: which of these are told in place of the whole.
    at_once: as `fixed_error`.
    """
    raw = batch.raw
    if not hasattr(parts.conditioner, "listen"):
        return {}
    told: dict[str, Any] = {}
    if raw.sound is not None and raw.text is not None:
        told["no_sound"] = replace(raw, sound=None)
    if raw.sound is not None:
        told["other_sound"] = replace(raw, sound=raw.sound[of_others(batch.label)])
        told["no_text"] = replace(raw, text=None)
    if raw.text is None:
        told.pop("no_text", None)
    return {
        name: fixed_loss(parts, replace(batch, raw=less), at_once=at_once).mean().item() for name, less in told.items()
    }


@torch.no_grad()
def fixed_loss(
    parts: Parts,
    batch: Batch,
    fractions: tuple[float, ...] = GAP_FRACTIONS,
    seed: int = 0,
    at_once: int | None = None,
) -> torch.Tensor:
    """The loss of each sample at fixed noise and timesteps, (fractions, B), in the process' loss space.

    at_once: as `fixed_error`.
    """
    x_0 = batch.signal if batch.encoded else parts.codec.encode(batch.signal)
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed)).to(x_0.device)
    condition = parts.conditioner.encode(batch.raw)
    timesteps = [parts.process.at(torch.full((len(x_0),), f)).to(x_0.device) for f in fractions]
    losses = []
    for run in split(len(x_0), at_once):
        told = parts.denoiser.precompute(condition[run])
        losses.append(torch.stack([denoising_error(parts, x_0[run], noise[run], t[run], told) for t in timesteps]))
    return torch.cat(losses, dim=1)


@dataclass(frozen=True)
class Gap:
    """The mean loss of samples trained on and of samples held out; the difference as a share of the former.

    low, high: the share's 95% interval.
    """

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


def measure_gap(seen: torch.Tensor, held_out: torch.Tensor) -> Gap:
    """From losses (fractions, n) of samples trained on and (fractions, m) of others, over the same fractions."""
    ours, theirs = seen.double().mean(dim=0), held_out.double().mean(dim=0)
    enough = min(len(ours), len(theirs)) > 1
    error = math.hypot(*(x.std().item() / math.sqrt(len(x)) for x in (ours, theirs))) if enough else math.inf
    a, b, half = ours.mean().item(), theirs.mean().item(), 1.96 * error
    base = max(a, 1e-12)
    return Gap(a, b, (b - a) / base, (b - a - half) / base, (b - a + half) / base)


@torch.no_grad()
def generalisation_gap(
    parts: Parts,
    seen: Batch,
    held_out: Batch,
    fractions: tuple[float, ...] = GAP_FRACTIONS,
    seed: int = 0,
    at_once: int | None = None,
) -> Gap:
    """How much better the model does on samples that it was trained on, on the same fixed noise and timesteps.

    at_once: as `fixed_error`.
    """
    return measure_gap(*(fixed_loss(parts, batch, fractions, seed, at_once) for batch in (seen, held_out)))
