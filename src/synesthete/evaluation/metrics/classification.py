"""How often a classifier's answer is right, class by class and on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.table import metric
from synesthete.evaluation.subsampling import shuffled

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric


def accuracy(true: Tensor, predicted: Tensor) -> float:
    """Share of (n,) answers that are right; an answer of -1 (none) is wrong."""
    return (true == predicted).double().mean().item()


def per_class(labels: Tensor, answers: Tensor, num_classes: int) -> list[float]:
    """Share right of each class; NaN where it has no sample."""
    return [accuracy(labels[labels == i], answers[labels == i]) for i in range(num_classes)]


def confusion(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """How often each class was taken for each: (num_classes, num_classes + 1) int64.

    Row: what it was. Column: what it was taken for; the last one counts answers of -1 (none).
    """
    column = predicted.where(predicted >= 0, torch.full_like(predicted, num_classes))
    places = true * (num_classes + 1) + column
    return torch.bincount(places, minlength=num_classes * (num_classes + 1)).view(num_classes, num_classes + 1)


def class_metrics(
    names: tuple[str, str],
    answers: Tensor,
    labels: Tensor,
    real_answers: Tensor,
    real_labels: Tensor,
    num_classes: int,
    seed: int,
) -> list[Metric]:
    """How often the judge sees the class that was asked for, and the same as a share of what it sees in real ones.

    names: of the judge, and of what it judges, in the plural. answers, labels: (n,) of what was made. real_answers,
    real_labels: (m,) of what was held out.
    """
    judge, what = names
    share, ceiling = accuracy(labels, answers), accuracy(real_labels, real_answers)
    wrong, chance = accuracy(labels[shuffled(len(labels), seed)], answers), 1 / num_classes
    spread = interval(share, len(labels))
    title: dict[str, Any] = {"judge": judge, "num": len(labels)}
    found = [metric("class_accuracy", share, spread, chance, wrong, ceiling, **title)]
    if ceiling:
        low, high = (end / ceiling for end in spread)
        figures = share / ceiling, (low, high), chance / ceiling, wrong / ceiling, 1.0
        found.append(metric("class_accuracy_over_real", *figures, what=what, num_real=len(real_labels), **title))
    return found
