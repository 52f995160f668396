"""What one step of the network makes of noised held-out samples, and what its condition is worth to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.metric import interval_of_mean, metric
from synesthete.evaluation.reporting.figures import timestep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.samples import shuffled
from synesthete.objectives.one_step import condition_sensitivity, errors_by_condition, fixed_noise, predict_x_0, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.reporting.report import Gallery
    from synesthete.types import Batch, Progress


BATCH_SIZE = 50
CELLS = 2**21  # of x_0 at once: a large spectrogram has as many as many pictures
FRACTIONS = (0.3, 0.5, 0.8)  # of the way to noise: t = 300, 500, 800 of 1000
TRACED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
NUM_DENOISED = 200  # held-out samples for the error at fixed timesteps
NUM_TRACED = 100  # of them, for the error by timestep and the sensitivity to the condition
RIGHT, SHUFFLED, NONE = "right condition", "shuffled condition", "no condition"


def denoising_errors(
    pipeline: Any, pairs: Batch, other: Tensor, fractions: Sequence[float], seed: int, progress: Progress
) -> dict[str, Tensor]:
    """x_0 errors (fractions, n) told the right conditions, those of `other` samples (n,), and none, on one noise.

    All three are one where the model is told nothing.
    """
    x_0 = pairs.signal
    size = max(1, min(BATCH_SIZE, CELLS // x_0[0].numel()))
    runs = split(len(x_0), size)
    noise = torch.cat([fixed_noise(x_0[run], seeding.derive(seed, "errors", run.start)) for run in runs])
    told = {RIGHT: pairs.raw, SHUFFLED: pairs.raw[other]} if pipeline.is_conditional else {}
    report = partial(progress, "denoising")
    found = errors_by_condition(pipeline, x_0, noise, told | {NONE: None}, fractions, size, report)
    return {name: found.get(name, found[NONE]).x_0 for name in (RIGHT, SHUFFLED, NONE)}


def denoising_metrics(
    pipeline: Any,
    pairs: Batch,
    real_x_0: Tensor,
    other: Tensor,
    seed: int,
    progress: Progress,
    what: str = "real clips",
) -> tuple[list[Metric], float]:
    """The denoising errors of `what` at FRACTIONS, and that of the mean of real_x_0 in their place."""
    errors = denoising_errors(pipeline, pairs, other, FRACTIONS, seed, progress)
    mean_error = (pairs.signal - real_x_0.mean(dim=0)).square().mean().item()
    metrics = []
    for fraction, right, wrong in zip(FRACTIONS, errors[RIGHT], errors[SHUFFLED], strict=True):
        figures = right.mean().item(), interval_of_mean(right), mean_error, wrong.mean().item()
        t = f"{fraction * pipeline.process.num_train_timesteps:.0f}"
        metrics.append(metric("denoising_mse", *figures, variant=t, t=t, what=what, num=len(pairs.label)))
    return metrics, mean_error


def sensitivity_metric(pipeline: Any, pairs: Batch, seed: int) -> Metric:
    """How much worse the network does when told of another class; all pairs go through it at once."""
    found = condition_sensitivity(pipeline, pairs.to(pipeline.device), seed=seed)["sensitivity"]
    times = " to ".join(f"{fraction * pipeline.process.num_train_timesteps:.0f}" for fraction in (0.5, 0.97))
    how = f", another class minus the right one, t = {times}"
    return metric("condition_sensitivity", found, chance=0.0, what="", how=how, num=len(pairs.label))


@torch.no_grad()
def one_step(pipeline: Any, x_0: Tensor, raw: Tensor, fraction: float, seed: int) -> Tensor:
    """What the network makes in one step of x_0 (n, C, H, W) that were noised to `fraction` of the way."""
    noise = seeding.randn(x_0.shape[1:], seeding.sample_generators(seed, len(x_0))).to(pipeline.device)
    condition = pipeline.denoiser.precompute(pipeline.conditioner.encode(raw.to(pipeline.device)))
    guess, _ = predict_x_0(pipeline, x_0.to(pipeline.device), noise, condition, fraction)
    return guess.cpu()


@dataclass(frozen=True)
class DenoisingTrace:
    """What one step of the network makes of noised held-out samples.

    metrics: the errors at fixed noise and timesteps. errors: mean x_0 error of `num` samples at TRACED, by condition;
    mean_error: of the mean sample in place of a network.
    """

    metrics: list[Metric]
    errors: dict[str, list[float]]
    mean_error: float
    num: int

    def section(self, what: str) -> Section:
        """How good one step of the network is, by how much noise there is. what: the samples are, in the plural."""
        title, guess = f"held-out {what}, n = {self.num}", f"the mean {what.removesuffix('s')}"
        items = errors_by_timestep(TRACED, self.errors, title, self.mean_error, guess)
        return Section("Loss by timestep", _TRACE.format(num=self.num, what=what), items)


def errors_by_timestep(
    fractions: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str,
    mean_error: float,
    guess: str,
    table: Mapping[str, Sequence[float]] | None = None,
) -> list[Medium | Table | Gallery]:
    """Curves of mean x_0 errors, and a table of them, or of more. guess: what mean_error is of."""
    figure, columns = timestep_figure(fractions, curves, title, mean_error, guess), table or curves
    rows = list(zip(fractions, *columns.values(), strict=True))
    return [Medium("loss-by-timestep", to_png(figure)), Table(("t / T", *columns), rows, "MSE of x_0")]


def trace_denoising(
    pipeline: Any, pairs: Batch, seed: int, progress: Progress, what: str, *, num_traced: int = NUM_TRACED
) -> DenoisingTrace:
    """Errors told the right condition, another one, and none.

    pairs: held-out x_0 (n, C, H, W) with their raw conditions and labels. what: they are, in the plural. num_traced: of
    them, for the error by timestep and the sensitivity to the condition.
    """
    few = first(pairs, num_traced)
    other = shuffled(len(pairs.label), seed)
    metrics, mean_error = denoising_metrics(pipeline, pairs, pairs.signal, other, seed, progress, f"held-out {what}")
    errors = denoising_errors(pipeline, few, shuffled(len(few.label), seed), TRACED, seed, progress)
    if pipeline.is_conditional:
        metrics.append(sensitivity_metric(pipeline, few, seed))
    else:
        metrics, errors = [replace(metric, shuffled=None) for metric in metrics], {NONE: errors[NONE]}
    trace = {name: found.mean(dim=1).tolist() for name, found in errors.items()}
    return DenoisingTrace(metrics, trace, mean_error, len(few.label))


def first(batch: Batch, num: int) -> Batch:
    """The first `num` samples of a batch, or all there are."""
    return replace(batch, signal=batch.signal[:num], raw=batch.raw[:num], label=batch.label[:num])


_TRACE = (
    "How far the network's guess of a clean sample is from it, from little noise to nearly nothing but noise, with "
    "{num} held-out {what}. A network that uses its condition is better with the right one than with another, and most "
    "of all near noise."
)
