"""What one step of the network makes of a noised clip, and what its condition is worth to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.intervals import interval_of_mean
from synesthete.evaluation.metrics.table import metric
from synesthete.objectives import Parts, condition_sensitivity, fixed_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.types import Batch

    Progress = Callable[[str, int, int], None]

BATCH_SIZE = 50
CELLS = 2**21  # of x_0 at once: a large spectrogram has as many as many pictures
FRACTIONS = (0.3, 0.5, 0.8)  # of the way to noise: t = 300, 500, 800 of 1000
TRACED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)


def denoising_errors(
    pipeline: Any, pairs: Batch, other: Tensor, fractions: Sequence[float], seed: int, progress: Progress
) -> dict[str, Tensor]:
    """x_0 errors (fractions, n) told the right conditions, those of `other` samples (n,), and none, on one noise.

    All three are one where the model is told nothing.
    """
    parts = Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process)
    errors: dict[str, list[Tensor]] = {"right condition": [], "shuffled condition": [], "no condition": []}
    num, device = len(pairs.label), pipeline.device
    size = max(1, min(BATCH_SIZE, CELLS // pairs.signal[0].numel()))
    for first in range(0, num, size):
        here = slice(first, min(first + size, num))
        x_0 = pairs.signal[here].to(device)
        draw = seeding.derive(seed, "errors", first)
        with torch.no_grad():
            conditions = [parts.conditioner.null(len(x_0))]
            if pipeline.is_conditional:
                told = (pairs.raw[here], pairs.raw[other[here]])
                conditions = [*(parts.conditioner.encode(raw.to(device)) for raw in told), *conditions]
        wrong = [fixed_error(parts, x_0, condition, tuple(fractions), draw).cpu() for condition in conditions]
        for found, error in zip(errors.values(), wrong if len(wrong) > 1 else wrong * len(errors), strict=True):
            found.append(error)
        progress("denoising", here.stop, num)
    return {name: torch.cat(found, dim=1) for name, found in errors.items()}


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
    mean_clip_error = (pairs.signal - real_x_0.mean(dim=0)).square().mean().item()
    num, num_timesteps = len(pairs.label), pipeline.process.num_train_timesteps
    metrics = [
        metric(
            "denoising_mse",
            right.mean().item(),
            interval_of_mean(right),
            mean_clip_error,
            wrong.mean().item(),
            variant=f"{fraction * num_timesteps:.0f}",
            t=f"{fraction * num_timesteps:.0f}",
            what=what,
            num=num,
        )
        for fraction, right, wrong in zip(FRACTIONS, *list(errors.values())[:2], strict=True)
    ]
    return metrics, mean_clip_error


def sensitivity_metric(pipeline: Any, pairs: Batch, seed: int) -> Metric:
    """How much worse the network does when told of another class; all pairs go through it at once."""
    parts = Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process)
    found = condition_sensitivity(parts, pairs.to(pipeline.device), seed=seed)["sensitivity"]
    times = " to ".join(f"{fraction * pipeline.process.num_train_timesteps:.0f}" for fraction in (0.5, 0.97))
    how = f", another class minus the right one, t = {times}"
    return metric("condition_sensitivity", found, chance=0.0, what="", how=how, num=len(pairs.label))


@torch.no_grad()
def one_step(pipeline: Any, x_0: Tensor, raw: Tensor, fraction: float, seed: int) -> Tensor:
    """What the network makes in one step of clips x_0 (n, 1, F, T) that were noised to `fraction` of the way."""
    process, device = pipeline.process, pipeline.device
    noise = seeding.randn(x_0.shape[1:], seeding.sample_generators(seed, len(x_0))).to(device)
    x_0 = x_0.to(device)
    timestep = process.at(torch.full((len(x_0),), fraction)).to(device)
    x_t = process.add_noise(x_0, noise, timestep)
    condition = pipeline.denoiser.precompute(pipeline.conditioner.encode(raw.to(device)))
    return process.convert(pipeline.denoiser(x_t, timestep, condition).float(), x_t, timestep, "sample").cpu()
