"""What a stage trains on: the prepared samples, or what frozen parts make of them once and for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete import seeding
from synesthete.training import latents, sharding
from synesthete.training.precompute import precompute_features

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from accelerate import Accelerator
    from torch import nn

    from synesthete.config import Recipe, Stage
    from synesthete.data.samples import Samples
    from synesthete.objectives import Parts


def gather_samples(
    recipe: Recipe,
    stage: Stage,
    parts: Parts,
    samples: Any,
    folder: Path,
    *,
    model: nn.Module,
    accelerator: Accelerator,
    report: Callable[[str, int, int], None],
) -> Samples:
    """The samples as signals where the codec learns, through it where it has learned, looked at where looks are kept.

    folder: for latents. model: holds the parts, in pieces or whole. report(what, done, total) in samples.
    """
    if "codec" in stage.train:
        return samples.signals()
    if latents.is_learned(parts.codec):
        num_views = recipe.data.fields.get("num_views", latents.NUM_VIEWS)
        with sharding.gathered(model):
            samples = latents.precompute_latents(
                parts.codec,
                samples,
                folder,
                num_views=num_views,
                device=accelerator.device,
                report=lambda done, total: report("encoding", done, total),
            )
    if not stage.num_views:
        return samples
    with sharding.gathered(model):
        return precompute_features(
            parts.conditioner,
            samples,
            stage.num_views,
            seeding.derive(recipe.seed, stage.name),
            autocast=accelerator.autocast,
            report=lambda done, total: report("looking", done, total),
        )
