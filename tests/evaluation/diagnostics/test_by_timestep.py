"""Errors by timestep are training's own; over-fitting and an unused condition are seen where they are, only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from synesthete.config import register_class
from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.by_timestep import (
    FRACTIONS,
    loss_gain,
    say_where_used,
    standard_error,
    trace,
    trace_without_network,
    with_interval,
)
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.objectives.denoising import denoising_error
from synesthete.objectives.one_step import measure_gap, of_others
from synesthete.types import InputError
from tiny_pictures import COLOURS, tiny_pipeline, tiny_recipe

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

PROCESSES = [
    {"schedule": "cosine", "prediction_type": "v_prediction"},
    {"schedule": "cosine", "prediction_type": "epsilon", "zero_terminal_snr": False},
    {"schedule": "linear", "prediction_type": "sample", "loss_space": "v_prediction", "zero_terminal_snr": False},
    {"schedule": "flow", "prediction_type": "sample", "loss_space": "flow", "zero_terminal_snr": False},
]


@pytest.fixture
def model(data):
    return ModelUnderTest(tiny_pipeline(), data, num=24)


@register_class
class Guess(torch.nn.Module):
    """A denoiser whose guess of x_0 is a function of (x_t, alpha, pooled)."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, process, guess):
        super().__init__()
        self.process, self.guess = process, guess

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        alpha, sigma = self.process.alpha_sigma(timestep)
        x_0 = self.guess(x_t, alpha, condition.pooled)
        noise = (x_t - alpha * x_0) / sigma.clamp(min=1e-4)
        return alpha * noise - sigma * x_0  # v


def guessing(model: ModelUnderTest, guess) -> ModelUnderTest:
    """The model with a denoiser that guesses."""
    model.pipeline.denoiser = Guess(model.pipeline.process, guess)
    return model


def walked(process: dict) -> Pipeline:
    """A pipeline with another process."""
    recipe = tiny_recipe("sampling.sampler=flow-euler") if process["schedule"] == "flow" else tiny_recipe()
    return tiny_pipeline(recipe, **process)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: "-".join(map(str, process.values())))
def test_errors_are_those_of_training_and_of_x_0(data, process):
    model = ModelUnderTest(walked(process), data)
    batch = model.held_out(70)  # more than are computed at once
    x_0, pipeline = model.x_0(batch), model.pipeline
    found = trace(model, x_0, {"own": batch.raw}, (0.2, 0.9))["own"]
    assert found.loss.shape == found.x_0.shape == (2, len(x_0))
    noise, condition = model.noise(len(x_0)), pipeline.conditioner.encode(batch.raw)
    for row, fraction in enumerate((0.2, 0.9)):
        timestep = pipeline.process.at(torch.full((len(x_0),), fraction))
        with torch.no_grad():
            expected = denoising_error(pipeline, x_0, noise, timestep, condition)
            x_t = pipeline.process.add_noise(x_0, noise, timestep)
            guess = pipeline.process.convert(pipeline.denoiser(x_t, timestep, condition), x_t, timestep, "sample")
        torch.testing.assert_close(found.loss[row], expected, rtol=1e-4, atol=1e-5)
        wrong = (guess - x_0).square().flatten(1).mean(dim=1)
        torch.testing.assert_close(found.x_0[row], wrong, rtol=1e-4, atol=1e-5)


def test_told_nothing_is_the_null(model):
    x_0 = model.x_0(model.held_out(6))
    found = trace(model, x_0, {"null": None, "class": torch.arange(6) % 3}, (0.8,))
    assert not torch.allclose(found["null"].x_0, found["class"].x_0)


def test_the_guess_without_a_network_is_the_best_of_each_pixel(model, monkeypatch):
    """On unit Gaussian data its error is sigma^2, which is 1 in the space of v."""
    x_0 = torch.randn(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with monkeypatch.context() as patch:
        patch.setattr(model, "x_0", lambda batch: x_0)
        found = trace_without_network(model, x_0)
    process = model.pipeline.process
    _, sigma = process.alpha_sigma(process.at(torch.tensor(FRACTIONS)))
    assert found.x_0.mean(dim=1).tolist() == pytest.approx(sigma.flatten().square().tolist(), rel=0.03)
    assert found.loss.mean(dim=1).tolist() == pytest.approx([1.0] * len(FRACTIONS), rel=0.03)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: "-".join(map(str, process.values())))
def test_the_gain_of_the_loss_space_is_that_of_an_error_in_x_0(process, data):
    """Errors of x_0 at a given x_t, carried into the loss space by the process itself."""
    process = walked(process).process
    timestep = process.at(torch.tensor([0.3, 0.6, 0.9]))
    x_0, noise = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    alpha, sigma = process.alpha_sigma(timestep)
    x_t, guess = process.add_noise(x_0, noise, timestep), x_0 + 0.5
    implied = process.target(guess, (x_t - alpha * guess) / sigma, timestep)
    error = (implied - process.target(x_0, noise, timestep)).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(loss_gain(process, timestep), error / 0.25, rtol=1e-4, atol=1e-5)


def test_a_model_that_knows_its_training_pictures_by_heart_over_fits(model):
    known = model.x_0(model.training(1000)).flatten(1)

    def nearest(x_t, alpha, _):
        places = torch.cdist(x_t.flatten(1) / alpha.flatten()[:, None].clamp(min=1e-4), known).argmin(dim=1)
        return known[places].view_as(x_t)

    section = find_diagnostic("loss-by-timestep")(guessing(model, nearest))
    assert "In short, the model over-fits: loss" in section.text
    by_timestep, by_class = section.items[1:]
    assert [row[0] for row in by_timestep.rows] == list(FRACTIONS)
    low_noise = by_timestep.rows[2]
    assert low_noise[4] == pytest.approx(0, abs=1e-6)  # x_0, training
    assert low_noise[5] > low_noise[6]  # held out, worse than no network
    assert {row[0] for row in by_class.rows} == set(COLOURS)


def test_a_model_that_knows_no_picture_does_not_over_fit(model):
    section = find_diagnostic("loss-by-timestep")(guessing(model, lambda x_t, alpha, _: 0 * x_t))
    assert "In short, the model over-fits" not in section.text
    assert section.items[0].content.startswith(b"\x89PNG")


def test_a_gap_is_told_in_words():
    noise = 0.1 * torch.randn(4, 400, generator=torch.Generator().manual_seed(0))
    said = {rise: str(measure_gap(1 + noise, 1 + rise + noise.flip(1))) for rise in (0.0, 0.05, 0.3)}
    assert said[0.0].startswith("the model does not over-fit: loss")
    assert said[0.05].startswith("the model over-fits a little: loss")
    assert said[0.3].startswith("the model over-fits: loss")
    assert ", +30% (95%: +29% to +31%)" in said[0.3]
    assert str(measure_gap(1 + noise[:, :4], 1 + 5 * noise[:, 4:7])).startswith("too few samples to tell")
    assert str(measure_gap(torch.ones(4, 1), torch.ones(4, 1))).startswith("too few samples to tell")


def test_intervals_are_those_of_a_mean():
    values = torch.tensor([[1.0, 3.0] * 50])
    mean, low, high = with_interval(values).flatten().tolist()
    assert (mean, (low + high) / 2) == pytest.approx((2.0, 2.0))
    assert high - low == pytest.approx(2 * 1.96 * 1.005 / 10, rel=1e-3)
    assert standard_error(torch.ones(2, 1)).isinf().all()


def test_a_condition_that_is_used_is_said_to_be_and_where(model):
    """A model that paints the mean picture of the class it is told, and of all where it is told nothing."""
    batch = model.training(1000)
    x_0, own = model.x_0(batch), model.pipeline.conditioner.pooled.weight
    means = torch.stack([*(x_0[batch.label == label].mean(dim=0) for label in range(3)), x_0.mean(dim=0)])
    section = find_diagnostic("sensitivity-by-timestep")(
        guessing(model, lambda x_t, alpha, pooled: means[torch.cdist(pooled, own).argmin(dim=1)])
    )
    assert "The condition is used all the way; being told of another class costs" in section.text
    for row in section.items[1].rows:
        assert row[1] < row[3] < row[2]  # right, null, shuffled


def test_a_condition_that_is_ignored_is_said_to_be(model):
    section = find_diagnostic("sensitivity-by-timestep")(guessing(model, lambda x_t, alpha, _: x_t * alpha))
    assert "The condition is used nowhere" in section.text
    assert all(row[5:] == ("+0.0%", "+0.0%") for row in section.items[1].rows)


def test_it_is_said_from_where_to_where():
    fractions = (0.1, 0.3, 0.5, 0.7)
    clear = torch.tensor([0.2, 0.21, 0.19, 0.2])
    nothing = torch.tensor([0.2, -0.2, 0.1, -0.1])
    said = say_where_used(torch.stack([nothing, clear, 2 * clear, nothing]), fractions)
    assert said.startswith("The condition is used from t = 0.3 T to t = 0.5 T; being told of another class costs 40%")
    assert "used at t = 0.3 T;" in say_where_used(torch.stack([nothing, clear, nothing, nothing]), fractions)
    assert "at t / T = 0.1, 0.5;" in say_where_used(torch.stack([clear, nothing, clear, nothing]), fractions)
    # Sure, but under half a percent.
    assert "nowhere" in say_where_used(0.01 * torch.stack([clear] * 4), fractions)


def test_another_class_is_another_class():
    labels = torch.tensor([0, 0, 1, 2, 1, 0, 2, 1])
    other = of_others(labels)
    assert (labels[other] != labels).all()
    assert sorted(other.tolist()) == list(range(8))


def test_training_samples_are_as_they_are_and_every_class_has_its_turn(model):
    batch = model.training(9)
    assert batch.label.bincount().tolist() == [3, 3, 3]
    kept = model.prepared.train.pictures[:]
    for picture in batch.signal:
        assert (kept == picture).flatten(1).all(dim=1).any()


def test_a_model_that_is_told_nothing_has_no_sensitivity_but_a_loss(silent, data):
    model = ModelUnderTest(silent, data, num=12)
    with pytest.raises(InputError, match="this model is told nothing"):
        find_diagnostic("sensitivity-by-timestep")(model)
    assert len(find_diagnostic("loss-by-timestep")(model).items) == 2
