"""What is lost to seeing and what to speaking: a linear probe reads the class from the condition alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from synesthete.data.pictures import Pictures

BATCH_SIZE = 50
NUM_TRAINING = 5000  # pictures that the probe learns from
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # on the square of the weights, half of it
NUM_ITERATIONS = 100


@dataclass(frozen=True)
class Probe:
    """Logistic regression onto the classes, on features (n, D) standardised by `mean` and `scale`."""

    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor

    def answers(self, features: Tensor) -> Tensor:
        """The most likely class (n,)."""
        return (((features - self.mean) / self.scale) @ self.weights + self.bias).argmax(dim=1)


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, seed: int = 0) -> Probe:
    """A probe on features (n, D) of classes `labels` (n,); the penalty is the best of PENALTIES on a fifth held out."""
    order = torch.randperm(len(labels), generator=seeding.generator(seed, "probe"))
    held_out, kept = order[: len(order) // 5], order[len(order) // 5 :]
    tried = [_fit(features[kept], labels[kept], num_classes, penalty) for penalty in PENALTIES]
    right = [accuracy(labels[held_out], probe.answers(features[held_out])) for probe in tried]
    return _fit(features, labels, num_classes, PENALTIES[right.index(max(right))])


def _fit(features: Tensor, labels: Tensor, num_classes: int, penalty: float) -> Probe:
    """The minimum, which is the only one, by L-BFGS from zero."""
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x = (features - mean) / scale
    weights = torch.zeros(x.shape[1], num_classes, requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=NUM_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        total = F.cross_entropy(x @ weights + bias, labels) + penalty / 2 * weights.square().sum()
        total.backward()
        return total.item()

    with torch.enable_grad():
        optimiser.step(loss)
    return Probe(mean, scale, weights.detach(), bias.detach())


@torch.no_grad()
def features_of(pipeline: Any, raw: Tensor) -> Tensor:
    """What the denoiser is told about pictures (n, C, H, W): pooled vector and mean of the tokens, (n, D)."""
    rows = []
    for part in raw.split(BATCH_SIZE):
        condition = pipeline.conditioner.encode(part.to(pipeline.device))
        parts = [] if condition.pooled is None else [condition.pooled]
        if condition.tokens is not None:
            mask = (
                condition.mask if condition.mask is not None else condition.tokens.new_ones(condition.tokens.shape[:2])
            )
            weight = mask.to(condition.tokens.dtype)[..., None]  # (B, L, 1)
            parts.append((condition.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))
        rows.append(torch.cat(parts, dim=1).float().cpu())
    return torch.cat(rows)


def fitted(
    pipeline: Any, pictures: Pictures, places: Tensor, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[list[int], Tensor]]:
    """The readable pictures of these places as the conditioner takes them, (b, C, H, W), a batch at a time."""
    done = 0
    for part in places.split(BATCH_SIZE):
        read = dict(pictures.read(part.tolist()))
        if read:
            yield list(read), pipeline.preprocess(list(read.values()))
        done += len(part)
        if progress:
            progress(done, len(places))


def seeing_metrics(
    seen: Tensor, labels: Tensor, other: Tensor, heard: Tensor, num_classes: int, real_heard: float
) -> list[Metric]:
    """The probe's accuracy, and how often what was heard (n,) is what the probe saw (n,).

    real_heard: the share of real clips that the same judge hears rightly, the most that speaking can reach.
    """
    num, chance = len(labels), 1 / num_classes
    share, agreed = accuracy(labels, seen), accuracy(seen, heard)
    return [
        Metric(
            f"seeing: accuracy of a linear probe on the condition (n = {num})",
            share,
            interval(share, num),
            chance,
            accuracy(labels[other], seen),
            1.0,
        ),
        Metric(
            f"speaking: the mel judge on x_0 hears what the probe saw (n = {num})",
            agreed,
            interval(agreed, num),
            chance,
            accuracy(seen[other], heard),
            real_heard,
        ),
    ]
