"""What is lost to seeing and what to speaking: a linear probe reads the class from the condition alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.metrics.classification import probe_metrics
from synesthete.evaluation.samples import drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.pictures import Pictures
    from synesthete.evaluation.metrics.metric import Metric

BATCH_SIZE = 50
NUM_TRAINING = 5000  # pictures that the probe learns from


@torch.no_grad()
def condition_features(pipeline: Any, raw: Tensor) -> Tensor:
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


def preprocessed(
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


def training_features(pipeline: Any, data: ImageSpeechPairs, seed: int, progress: Any) -> tuple[Tensor, Tensor]:
    """What the probe learns from: features (k, D) and labels (k,) of at most NUM_TRAINING training pictures."""
    pictures, labels = data.pictures("train")
    places = drawn(len(pictures), NUM_TRAINING, seed, "training pictures")
    rows, read = [], []
    for found, raw in preprocessed(pipeline, pictures, places, lambda *count: progress("seeing", *count)):
        rows.append(condition_features(pipeline, raw))
        read += found
    return torch.cat(rows), labels[read]


def seeing_metrics(
    seen: Tensor, labels: Tensor, other: Tensor, heard: Tensor, num_classes: int, real_heard: float
) -> list[Metric]:
    """The probe's accuracy, and how often what was heard (n,) is what the probe saw (n,).

    real_heard: the share of real clips that the same classifier hears rightly, the most that speaking can reach.
    """
    return probe_metrics(
        seen,
        labels,
        heard,
        other,
        num=len(labels),
        chance=1 / num_classes,
        ceiling=real_heard,
        reading=("seeing", "condition"),
        agreeing=("speaking: the mel classifier on x_0 hears", "", "saw"),
    )
