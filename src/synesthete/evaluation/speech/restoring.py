"""Real clips beside what one step of the network makes of them when they are noised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.denoising import FRACTIONS, one_step
from synesthete.evaluation.speech.speaking import decoded

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.speech.speaking import Speech


def restorations(pipeline: Any, x_0: Tensor, raw: Tensor, generated: Speech, seed: int) -> dict[str, Speech]:
    """The figure of i2m: real clips, what was generated for their pictures, and the clips denoised in one step.

    x_0: real clips (n, 1, F, T). raw: the pictures that go with them. All are decoded by the same codec.
    """
    codec = pipeline.codec
    found = {"original, through the codec": decoded(codec, x_0, seed), "generated from the picture": generated}
    for fraction in FRACTIONS:
        found[f"denoised from t = {fraction * 1000:.0f}"] = decoded(
            codec, one_step(pipeline, x_0, raw, fraction, seed), seed
        )
    return found
