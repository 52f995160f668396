"""What one step of the network makes of noised held-out samples, and what its condition is worth to it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.metrics.metric import Metric, interval_of_mean, metric
from synesthete.evaluation.reporting.figures import timestep_figure, to_png
from synesthete.evaluation.reporting.report import Gallery, Medium, Section, Table
from synesthete.evaluation.samples import shuffled
from synesthete.evaluation.steps import Finding
from synesthete.objectives.one_step import condition_sensitivity, errors_by_condition, fixed_noise, predict_x_0, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synesthete.evaluation.runner import Evaluator
    from synesthete.types import Batch, Progress


BATCH_SIZE = 50
CELLS = 2**21  # of x_0 at once: a large spectrogram has as many as many pictures
FRACTIONS = (0.3, 0.5, 0.8)  # of the way to noise: t = 300, 500, 800 of 1000
TRACED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
RIGHT, SHUFFLED, NONE = "right condition", "shuffled condition", "no condition"


def denoising_finding(
    of: Evaluator,
    pairs: Batch,
    *,
    mean_of: Tensor | None = None,
    num_sensed: int | None = None,
    what: str = "",
    whose: str = "",
) -> Finding:
    """Errors told the right condition, another one, and none: at FRACTIONS as metrics, by timestep as curves.

    pairs: held-out x_0 (n, C, H, W) with their raw conditions and labels; the first `of.num_traced` for the curves.
    mean_of: x_0 whose mean stands in place of a network; of the pairs where None. num_sensed: pairs that the
    sensitivity to the condition is measured on; as for the curves where None. what: the pairs are, in the plural;
    whose: more of that, for the section.
    """
    pipeline, seed, few, what = of.pipeline, of.seed, first(pairs, of.num_traced), what or f"held-out {of.what}"
    mean = (pairs.signal if mean_of is None else mean_of).mean(dim=0)
    mean_error = (pairs.signal - mean).square().mean().item()
    errors = denoising_errors(pipeline, pairs, FRACTIONS, seed, of.progress)
    metrics: list[Metric] = []
    for place, fraction in enumerate(FRACTIONS):
        right, *wrong = (errors[name][place] for name in errors if name != NONE or len(errors) == 1)
        beside = [mean_error, *(each.mean().item() for each in wrong)]
        t = f"{fraction * pipeline.process.num_train_timesteps:.0f}"
        told: dict[str, Any] = {"variant": t, "t": t, "what": what, "num": len(pairs.label)}
        metrics.append(metric("denoising_mse", right.mean().item(), interval_of_mean(right), *beside, **told))
    if pipeline.is_conditional:
        metrics.append(sensitivity_metric(pipeline, few if num_sensed is None else first(pairs, num_sensed), seed))
    traced = denoising_errors(pipeline, few, TRACED, seed, of.progress)
    curves = {name: found.mean(dim=1).tolist() for name, found in traced.items()}
    num, one = len(few.label), what.split()[-1].removesuffix("s")
    items = errors_by_timestep(TRACED, curves, f"{what}{whose}, n = {num}", mean_error, f"the mean {one}")
    section = Section("Loss by timestep", _TRACE.format(num=num, what=what + whose), items)
    data = {"error_by_timestep": {"fraction": list(TRACED), **curves, f"mean {one}": mean_error}}
    return Finding(metrics, [section], data)


def denoising_errors(
    pipeline: Any, pairs: Batch, fractions: Sequence[float], seed: int, progress: Progress
) -> dict[str, Tensor]:
    """x_0 errors (fractions, n) told the right conditions, those of other samples, and none, on one noise.

    The last alone where the model is told nothing.
    """
    x_0, other = pairs.signal, shuffled(len(pairs.label), seed)
    size = max(1, min(BATCH_SIZE, CELLS // x_0[0].numel()))
    runs = split(len(x_0), size)
    noise = torch.cat([fixed_noise(x_0[run], seeding.derive(seed, "errors", run.start)) for run in runs])
    told = {RIGHT: pairs.raw, SHUFFLED: pairs.raw[other]} if pipeline.is_conditional else {}
    report = partial(progress, "denoising")
    found = errors_by_condition(pipeline, x_0, noise, told | {NONE: None}, fractions, size, report)
    return {name: each.x_0 for name, each in found.items()}


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


def first(batch: Batch, num: int) -> Batch:
    """The first `num` samples of a batch, or all there are."""
    return replace(batch, signal=batch.signal[:num], raw=batch.raw[:num], label=batch.label[:num])


_TRACE = (
    "How far the network's guess of a clean sample is from it, from little noise to nearly nothing but noise, with "
    "{num} {what}. A network that uses its condition is better with the right one than with another, and most of all "
    "near noise."
)
