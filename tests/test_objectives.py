"""What a stage minimises, and whether its condition matters (laws 5, 6 and 9)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.conditioner import Conditioner
from synesthete.conditioning.labels import Labels
from synesthete.diffusion.process import PREDICTION_TYPES, Process
from synesthete.objectives import Alignment, Denoising, Parts
from synesthete.objectives.denoising import denoising_error
from synesthete.objectives.one_step import condition_sensitivity, fixed_error, fixed_loss
from synesthete.types import Batch, Condition

FRAMES = 16


def batch_of(num: int = 64) -> Batch:
    """Samples of ten classes, x_0 a number that tells its class."""
    label = torch.arange(num) % 10
    x_0 = (label / 5 - 1).view(-1, 1, 1, 1).expand(num, 1, 100, FRAMES).contiguous()
    return Batch(signal=x_0, raw=label, label=label, encoded=True)


class Oracle(nn.Module):
    """Knows x_0 from the label that the condition carries; a deaf one always says the mean."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, process: Process, *, deaf: bool = False) -> None:
        super().__init__()
        self.process, self.deaf = process, deaf

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        told = condition.pooled[:, 0] * (not self.deaf)
        x_0 = told.view(-1, 1, 1, 1).expand_as(x_t)
        alpha, sigma = self.process.alpha_sigma(timestep)
        return self.process.target(x_0, (x_t - alpha * x_0) / sigma, timestep, self.process.prediction_type)


class Telling(Conditioner):
    """Labels as the number that their samples are, 0 being the null."""

    def encode(self, raw, generator=None):
        return Condition(pooled=(raw / 5 - 1).view(-1, 1), tokens=torch.ones(len(raw), 2, 1))

    def null(self, batch_size):
        return Condition(pooled=torch.zeros(batch_size, 1), tokens=torch.zeros(batch_size, 2, 1))


def parts_with(process: Process, **settings) -> Parts:
    return Parts(MelCodec(num_samples=(FRAMES - 1) * 256), Telling(), Oracle(process, **settings), process)


@pytest.mark.parametrize("loss_space", PREDICTION_TYPES)
@pytest.mark.parametrize("settings", [{"prediction_type": "sample"}, {"prediction_type": "flow"}])
def test_a_perfect_denoiser_has_no_loss_in_any_space(settings, loss_space):
    objective = Denoising(condition_dropout=0.0).attach(parts_with(Process(**settings, loss_space=loss_space)))
    losses = objective(batch_of(), torch.Generator().manual_seed(0))
    assert losses["loss"] < 1e-3
    assert losses["per_sample"].shape == losses["timestep"].shape == (64,)


def test_a_loss_in_flow_space_weighs_noisy_samples_less():
    process, batch = Process(prediction_type="sample", loss_space="flow"), batch_of(2)
    parts = parts_with(process, deaf=True)
    noise, told = torch.randn(batch.signal.shape), parts.conditioner.encode(batch.raw)
    error = [
        denoising_error(parts, batch.signal, noise, torch.full((2,), t), told)[0].item() for t in (100.0, 500.0, 900.0)
    ]
    assert error == pytest.approx([1 / 0.1**2, 1 / 0.5**2, 1 / 0.9**2], rel=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_the_null_is_drawn_for_each_sample_by_itself(dropout, monkeypatch):
    """A seed dropped the condition of a whole batch, or of none of it."""
    kept, real = [], Condition.where
    monkeypatch.setattr(Condition, "where", staticmethod(lambda keep, *rest: kept.append(keep) or real(keep, *rest)))
    objective = Denoising(condition_dropout=dropout).attach(parts_with(Process()))
    for seed in range(20):
        objective(batch_of(), torch.Generator().manual_seed(seed))
    shares = torch.stack(kept).float().mean(dim=1)
    assert shares.mean().item() == pytest.approx(1 - dropout, abs=0.04)
    assert (shares.std() > 0.02) == (0 < dropout < 1)
    assert shares.min() > 0 or dropout == 1


def test_the_same_generator_is_the_same_loss():
    objective = Denoising(0.5).attach(parts_with(Process()))
    first, again, other = (objective(batch_of(), torch.Generator().manual_seed(s))["loss"] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("num", [20, 23, 64])
def test_sensitivity_is_what_the_wrong_condition_costs(num):
    process = Process()
    listening = condition_sensitivity(parts_with(process), batch_of(num))
    assert listening["right"] == pytest.approx(0, abs=1e-6)
    assert listening["sensitivity"] == pytest.approx(listening["wrong"] - listening["right"])
    assert listening["sensitivity"] > 0.03  # every sample was told of another class: (1 / 5)^2 at least
    deaf = condition_sensitivity(parts_with(process, deaf=True), batch_of(num))
    assert deaf["sensitivity"] == pytest.approx(0, abs=1e-6)
    assert deaf["right"] > 0.1


def test_sensitivity_is_measured_on_fixed_noise():
    parts = parts_with(Process())
    assert condition_sensitivity(parts, batch_of()) == condition_sensitivity(parts, batch_of())


def test_a_network_is_asked_in_the_precision_of_its_weights():
    """Weights in half precision take no other input; what is compared stays float32."""
    parts, batch, given = parts_with(Process()), batch_of(4), set()
    parts.denoiser.dtype = torch.bfloat16
    parts.denoiser.register_forward_pre_hook(lambda module, inputs: given.add(inputs[0].dtype))
    assert fixed_loss(parts, batch).dtype == torch.float32
    assert condition_sensitivity(parts, batch)["right"] >= 0
    assert given == {torch.bfloat16}


@pytest.mark.parametrize("measure", ["loss", "error", "sensitivity"])
def test_figures_are_the_same_however_many_samples_go_through_at_once(measure):
    """64 at once have no room where a training step takes 4."""
    parts, batch, sizes = parts_with(Process(), deaf=True), batch_of(10), []
    parts.denoiser.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))

    def measured(at_once):
        if measure == "sensitivity":
            return torch.tensor(list(condition_sensitivity(parts, batch, at_once=at_once).values()))
        if measure == "loss":
            return fixed_loss(parts, batch, at_once=at_once)
        return fixed_error(parts, batch.signal, parts.conditioner.encode(batch.raw), at_once=at_once)

    whole = measured(None)
    assert set(sizes) == {10}
    sizes.clear()
    torch.testing.assert_close(measured(4), whole)
    assert set(sizes) == {4, 2}


def test_alignment_brings_a_conditioner_and_its_sounds_together():
    torch.manual_seed(0)
    parts = parts_with(Process())
    parts.conditioner = Labels(width=16)
    objective = Alignment(width=16).attach(parts).train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    batch = batch_of(40)
    # A constant is nothing to a layer that normalises: give each class a spectrum of its own.
    spectra = torch.randn(10, 1, 100, 1, generator=torch.Generator().manual_seed(0))
    batch = Batch(spectra[batch.label].expand(-1, 1, 100, FRAMES), batch.raw, batch.label, encoded=True)
    first = None
    for step in range(40):
        losses = objective(batch, torch.Generator().manual_seed(step))
        first = first if first is not None else losses["loss"].item()
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    assert losses["loss"] < 0.8 * first
    assert losses["retrieval"] > 0.9
