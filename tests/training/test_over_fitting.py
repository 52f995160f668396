"""While it trains, a run compares its training pictures with those held out, and says in words whether it over-fits."""

from __future__ import annotations

import pytest
import torch
from runs import metrics

from synesthete import seeding
from synesthete.config import register_class
from synesthete.objectives.one_step import generalisation_gap
from synesthete.training import loop
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe

FEW = ("data.limit=9", "stages.denoise.num_steps=4", "stages.denoise.preview_every=2", "weights=float32")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    """A folder of a short run on nine pictures, and what it said."""
    folder, notes = tmp_path_factory.mktemp("few") / "run", []
    loop.train_recipe(
        tiny_recipe(*FEW), tiny_prepared(None, *FEW), folder, report=lambda said: notes.extend(said.notes)
    )
    return folder, notes


def test_both_losses_are_in_the_log_at_every_preview(run):
    folder, notes = run
    looks = [line for line in metrics(folder) if "held_out_loss" in line]
    assert [line["step"] for line in looks] == [2, 4]
    assert all(line["training_loss"] > 0 for line in looks)
    said = [note for note in notes if "over-fit" in note]
    assert [
        f"loss {line['held_out_loss']:.4g} held out, {line['training_loss']:.4g} in training" for line in looks
    ] == [note.partition(": ")[2].partition(", +")[0].partition(", -")[0] for note in said]


@register_class
class Memory(torch.nn.Module):
    """A denoiser that answers with the nearest picture that it remembers."""

    dtype = torch.float32

    def __init__(self, process, remembered):
        super().__init__()
        self.process, self.remembered = process, remembered

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        alpha, sigma = self.process.alpha_sigma(timestep)
        distances = torch.cdist((x_t / alpha.clamp(min=1e-4)).flatten(1), self.remembered.flatten(1))
        x_0 = self.remembered[distances.argmin(dim=1)]
        return alpha * (x_t - alpha * x_0) / sigma.clamp(min=1e-4) - sigma * x_0  # v


def test_a_model_that_remembers_its_pictures_is_found_out(cache):
    prepared, pipeline = tiny_prepared(), tiny_pipeline()
    batches = [
        samples.batch(torch.arange(24), seeding.generator(0, "look")) for samples in (prepared.train, prepared.test)
    ]
    untrained = generalisation_gap(pipeline, *batches)
    assert not str(untrained).startswith("the model over-fits")
    assert untrained.training == pytest.approx(untrained.held_out, rel=0.2)
    pipeline.denoiser = Memory(pipeline.process, pipeline.codec.encode(batches[0].signal))
    gap = generalisation_gap(pipeline, *batches)
    assert str(gap).startswith("the model over-fits: loss ")
    assert gap.training < 0.2 * gap.held_out
