"""What one step of the network makes of noised held-out samples: at fixed timesteps, and along the whole way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synesthete.evaluation.denoising import TRACED, denoising_errors, denoising_metrics, sensitivity_metric
from synesthete.evaluation.reporting.figures import timestep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.subsampling import shuffled

if TYPE_CHECKING:
    from collections.abc import Callable

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.pipeline import Pipeline
    from synesthete.types import Batch

    Progress = Callable[[str, int, int], None]

NUM_DENOISED = 200  # held-out samples for the error at fixed timesteps
NUM_TRACED = 100  # of them, for the error by timestep and the sensitivity to the condition


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
        title = f"held-out {what}, n = {self.num}"
        figure = timestep_figure(TRACED, self.errors, title, self.mean_error, f"the mean {what.removesuffix('s')}")
        table = Table(("t / T", *self.errors), list(zip(TRACED, *self.errors.values(), strict=True)))
        text = _TRACE.format(num=self.num, what=what)
        return Section("Loss by timestep", text, [Medium("loss-by-timestep", to_png(figure)), table])


def trace_denoising(
    pipeline: Pipeline, pairs: Batch, seed: int, progress: Progress, what: str, *, num_traced: int = NUM_TRACED
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
        metrics = [replace(metric, shuffled=None) for metric in metrics]
        errors = {"no condition": errors["no condition"]}
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
