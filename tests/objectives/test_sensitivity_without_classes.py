"""A condition that is no class: what another sample is told is wrong."""

from __future__ import annotations

import torch

from synesthete.objectives import Parts
from synesthete.objectives.one_step import condition_sensitivity
from synesthete.recipes import RECIPES
from synesthete.types import Batch


class Knowing(torch.nn.Module):
    """A network that says the low band it is told."""

    dtype = torch.float32

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        return condition.spatial[:, :1]


def test_samples_without_classes_are_told_what_others_are():
    recipe = RECIPES["music-upsampler-debug"]()
    recipe.process.schedule, recipe.process.prediction_type = "flow", "sample"
    recipe.process.zero_terminal_snr = False
    parts = Parts(recipe.codec(), recipe.conditioner().eval(), Knowing(), recipe.process())
    sounds = 0.1 * torch.randn(4, 8_000, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, dtype=torch.int64)
    found = condition_sensitivity(parts, Batch(signal=sounds, raw=sounds, label=labels))
    assert found["sensitivity"] > 0.01 * found["right"]
    same = condition_sensitivity(parts, Batch(signal=sounds, raw=sounds[:1].expand(4, -1), label=labels))
    assert abs(same["sensitivity"]) < 1e-6
