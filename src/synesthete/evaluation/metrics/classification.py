"""How often a classifier's answer is right, class by class and on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.metrics.metric import Metric, interval, metric

__all__ = ["accuracy", "confusion"]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # on the square of the weights, half of it, beside the mean loss
NUM_ITERATIONS = 1000


def accuracy(true: Tensor, predicted: Tensor) -> float:
    """Share of (n,) answers that are right; an answer of -1 (none) is wrong."""
    return (true == predicted).double().mean().item()


def accuracy_metric(
    key: str,
    true: Tensor,
    answers: Tensor,
    chance: float,
    shuffled: Tensor | None = None,
    ceiling: float | None = None,
    *,
    independent: int | None = None,
    **title: Any,
) -> Metric:
    """Share of answers (n,) that are right, as a metric of the row `key`.

    shuffled: (n,) classes of other samples. independent: how many answers are; all where None. title: as of `metric`.
    """
    share = accuracy(true, answers)
    wrong = None if shuffled is None else accuracy(shuffled, answers)
    spread = interval(share, len(answers) if independent is None else independent)
    return metric(key, share, spread, chance, wrong, ceiling, **{"num": len(answers)} | title)


def per_class(labels: Tensor, answers: Tensor, num_classes: int) -> list[float]:
    """Share right of each class; NaN where it has no sample."""
    return [accuracy(labels[labels == i], answers[labels == i]) for i in range(num_classes)]


def confusion(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """How often each class (rows) was taken for each, and in the last column for none (-1): (C, C + 1) int64."""
    column = predicted.where(predicted >= 0, torch.full_like(predicted, num_classes))
    places = true * (num_classes + 1) + column
    return torch.bincount(places, minlength=num_classes * (num_classes + 1)).view(num_classes, num_classes + 1)


@dataclass(frozen=True)
class LinearProbe:
    """A fitted classifier of scikit-learn, of features (n, D) standardised by `mean` and `scale`."""

    mean: Tensor
    scale: Tensor
    regression: Any

    def classify(self, features: Tensor) -> Tensor:
        """The most likely class (n,)."""
        return torch.from_numpy(self.regression.predict(((features - self.mean) / self.scale).double().numpy()))


def fit_linear_probe(features: Tensor, labels: Tensor, seed: int = 0) -> LinearProbe:
    """A probe on features (n, D) of classes `labels` (n,); the penalty is the best of PENALTIES on a fifth held out."""
    order = torch.randperm(len(labels), generator=seeding.generator(seed, "probe"))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    tried = [_fit(features[kept], labels[kept], penalty) for penalty in PENALTIES]
    right = [accuracy(labels[held_out], probe.classify(features[held_out])) for probe in tried]
    return _fit(features, labels, PENALTIES[right.index(max(right))])


def _fit(features: Tensor, labels: Tensor, penalty: float) -> LinearProbe:
    # Imported here: it takes half a second, and most evaluations fit no probe.
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x, y = ((features - mean) / scale).double().numpy(), labels.numpy()
    several = len(labels.unique()) > 1  # of one class there is nothing to tell, which scikit-learn refuses
    regression = LogisticRegression(C=1 / (penalty * len(y)), max_iter=NUM_ITERATIONS) if several else DummyClassifier()
    return LinearProbe(mean, scale, regression.fit(x, y))
