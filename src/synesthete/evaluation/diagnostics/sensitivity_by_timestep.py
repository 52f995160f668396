"""What the condition is worth by timestep: the error when told right, told of another class, and told nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.evaluation.diagnostics.curves import (
    TIMESTEP,
    Panel,
    at,
    curves_figure,
    standard_error,
    with_interval,
)
from synesthete.evaluation.diagnostics.tracing import FRACTIONS, trace, trace_shrinking
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.objectives.one_step import of_others
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

TITLE = "Condition sensitivity by timestep"
HOW = (
    "The error of x_0 of held-out samples, on the same noise, when the network is told their class (right), that of "
    "another class (shuffled) and nothing (null). Where shuffled is no worse than right, the condition is not used; "
    "a model without any use for it is at 0 throughout."
)
RIGHT, SHUFFLED, NULL = "right", "shuffled", "null"
LEAST_SHARE = 0.005  # of the error: what makes less of a difference is not being used
LEAST_ERRORS = 3.0  # standard errors above 0, since a dozen timesteps are tried


def sensitivity_by_timestep(model: ModelUnderTest) -> Section:
    """Curves of the three errors and of their differences, a table, and a sentence that says where it is used.

    Raises:
        InputError: a model that is told nothing, or held-out samples of a single class.
    """
    if not model.is_conditional:
        raise InputError("sensitivity-by-timestep: this model is told nothing; leave this diagnostic out")
    batch = model.held_out()
    if len(batch.label.unique()) < 2:
        raise InputError("sensitivity-by-timestep: held-out samples of one class alone; add some of another")
    x_0 = model.x_0(batch)
    told = {RIGHT: batch.raw, SHUFFLED: batch.raw[of_others(batch.label)], NULL: None}
    errors = {name: found.x_0.double() for name, found in trace(model, x_0, told).items()}
    floor = trace_shrinking(model, x_0).x_0.mean(dim=1)
    right = errors[RIGHT].mean(dim=1, keepdim=True).clamp(min=1e-12)
    worse = {name: (errors[name] - errors[RIGHT]) / right for name in (SHUFFLED, NULL)}
    panels = [
        Panel(
            f"error of x_0 (n = {len(x_0)})",
            TIMESTEP,
            "MSE of x_0 (unit variance)",
            FRACTIONS,
            {f"{name} condition": with_interval(found) for name, found in errors.items()},
            {"no network": floor},
            log_y=True,
        ),
        Panel(
            "how much worse than told right",
            TIMESTEP,
            "% of the error when told right",
            FRACTIONS,
            {f"{name} condition": 100 * with_interval(found) for name, found in worse.items()},
            {"condition not used": torch.zeros(len(FRACTIONS))},
        ),
    ]
    medium = Medium("sensitivity-by-timestep", to_png(curves_figure(panels)), "what the condition is worth by timestep")
    means = [errors[name].mean(dim=1).tolist() for name in told]
    gains = [[f"{100 * share:+.1f}%" for share in worse[name].mean(dim=1).tolist()] for name in worse]
    columns = ("t / T", *told, "no network", "shuffled costs", "null costs")
    table = Table(
        columns,
        [(fraction, *row) for fraction, *row in zip(FRACTIONS, *means, floor.tolist(), *gains, strict=True)],
        f"mean square error of x_0, n = {len(x_0)}",
    )
    return Section(TITLE, f"{HOW} {say_where_used(worse[SHUFFLED], FRACTIONS)}", [medium, table])


def say_where_used(worse: Tensor, fractions: Sequence[float]) -> str:
    """Whether and where the condition is used. worse: (fractions, n), what being told wrong costs, as a share."""
    mean, error = worse.mean(dim=1), standard_error(worse)
    used = ((mean > LEAST_SHARE) & (mean > LEAST_ERRORS * error)).tolist()
    most = int(mean.argmax())
    cost = f"being told of another class costs {100 * mean[most].item():.3g}% at {at(fractions[most])}"
    if not any(used):
        return f"The condition is used nowhere: {cost} at most, which is within chance or under 0.5%."
    first, last = used.index(True), len(used) - 1 - used[::-1].index(True)
    if all(used):
        where = "all the way"
    elif all(used[first : last + 1]):
        where = (
            f"from {at(fractions[first])} to {at(fractions[last])}" if first < last else f"at {at(fractions[first])}"
        )
    else:
        where = "at t / T = " + ", ".join(f"{f:g}" for f, here in zip(fractions, used, strict=True) if here)
    return f"The condition is used {where}; {cost}, the most."
