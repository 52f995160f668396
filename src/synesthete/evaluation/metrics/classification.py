"""How often a classifier's answer is right, class by class and on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.samples import shuffled

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
    """How often the classifier sees the class that was asked for, and the same as a share of what it sees in real ones.

    names: of the classifier, and of what it classifiers, in the plural. answers, labels: (n,) of what was made.
    real_answers,
    real_labels: (m,) of what was held out.
    """
    classifier, what = names
    share, ceiling = accuracy(labels, answers), accuracy(real_labels, real_answers)
    wrong, chance = accuracy(labels[shuffled(len(labels), seed)], answers), 1 / num_classes
    spread = interval(share, len(labels))
    title: dict[str, Any] = {"classifier": classifier, "num": len(labels)}
    found = [metric("class_accuracy", share, spread, chance, wrong, ceiling, **title)]
    if ceiling:
        low, high = (end / ceiling for end in spread)
        figures = share / ceiling, (low, high), chance / ceiling, wrong / ceiling, 1.0
        found.append(metric("class_accuracy_over_real", *figures, what=what, num_real=len(real_labels), **title))
    return found


PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # on the square of the weights, half of it, beside the mean loss
NUM_ITERATIONS = 1000


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


def probe_metrics(
    read: Tensor,
    labels: Tensor,
    answers: Tensor,
    order: Tensor,
    *,
    num: int,
    chance: float,
    ceiling: float,
    reading: tuple[str, str],
    agreeing: tuple[str, str, str],
    variant: str = "",
) -> list[Metric]:
    """How often the probe's classes `read` (n,) are right, and how often the answers (n,) to samples are those.

    order: of other samples, for what is shuffled. num: samples that differ. ceiling: of the answers. reading, agreeing:
    title and what, title, what and verb of the rows in `table`. variant: as of `metric`.
    """
    share, agreed = accuracy(labels, read), accuracy(read, answers)
    of_share = (interval(share, num), chance, accuracy(labels[order], read), 1.0)
    of_agreed = (interval(agreed, num), chance, accuracy(read[order], answers), ceiling)
    told: dict[str, Any] = dict(zip(("title", "what"), reading, strict=True))
    shown: dict[str, Any] = dict(zip(("title", "what", "verb"), agreeing, strict=True))
    return [
        metric("probe_accuracy", share, *of_share, variant=variant, num=num, **told),
        metric("probe_agreement", agreed, *of_agreed, variant=variant, num=len(labels), **shown),
    ]
