"""What a frozen conditioner sees of every picture, computed once instead of once a step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechSamples

SHARD = 250


@torch.no_grad()
def precompute_features(
    conditioner: Any,
    samples: ImageSpeechSamples,
    num_views: int,
    seed: int,
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
    report: Callable[[int, int], None],
) -> ImageSpeechSamples:
    """The samples with what is seen in place of their pictures, in half precision.

    Each picture is looked at num_views times, the first time as it is, then as the augmentation changes it; a batch
    takes one of these views by chance. autocast: the precision to look in. report(done, total) in pictures.
    """
    conditioner.eval()
    device = next(conditioner.parameters()).device
    shards = []
    for first in range(0, len(samples), SHARD):
        pictures = samples.pictures[torch.arange(first, min(first + SHARD, len(samples)))]
        views = [pictures]
        for view in range(1, num_views):
            generator = seeding.generator(seed, "view", view, first)
            views.append(samples.augmentation(pictures, generator) if samples.augmentation else pictures)
        with autocast():
            seen = [conditioner.extract_features(pictures.to(device)) for pictures in views]
        shards.append(torch.stack(seen, dim=1).half().cpu())  # (SHARD, num_views, ...)
        report(min(first + SHARD, len(samples)), len(samples))
    return replace(samples, pictures=torch.cat(shards), augmentation=choose_view)


def choose_view(views: Tensor, generator: torch.Generator) -> Tensor:
    """(B, num_views, ...) -> (B, ...), one view of each sample by chance."""
    chosen = torch.randint(views.shape[1], (len(views),), generator=generator)
    return views[torch.arange(len(views)), chosen]
