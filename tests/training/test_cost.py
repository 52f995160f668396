"""What a step takes, before it is taken: bytes counted from shapes, seconds reckoned from smaller steps."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from typer.testing import CliRunner

from synesthete.cli.app import app
from synesthete.conditioning.labels import Labels
from synesthete.config import build
from synesthete.recipes import find_recipe
from synesthete.tasks import task_of
from synesthete.training import cost
from synesthete.training.cost import DryRun, Ledger, micro_batch, predict, predict_memory, time_step
from tiny import DEBUG, debug_recipe

FLOAT = 4  # bytes


def dummies(recipe):
    """What makes samples up for a recipe."""
    return task_of(recipe).dummy_batch


@pytest.fixture(scope="module")
def counted():
    """`predict_memory`, which takes a second and more, once for each recipe, stage and size."""
    known = {}

    def count(recipe, stage, size, dummies):
        key = json.dumps([recipe.to_dict(), stage.name, size], sort_keys=True)
        if key not in known:
            known[key] = predict_memory(recipe, stage, size, dummies)
        return known[key]

    return count


@pytest.fixture
def working(counted):
    """`working(batch_size, *assignments)`: the bytes that the debug twin's last stage works in."""

    def find(size, *assignments):
        recipe = debug_recipe(*assignments)
        return counted(recipe, recipe.stages[1], size, dummies(recipe)).working

    return find


def test_a_layer_takes_its_weights_inputs_and_outputs():
    ledger = Ledger()
    with FakeTensorMode(), ledger:
        layer, x = nn.Linear(8, 16, bias=False), torch.empty(4, 8)
        assert ledger.live == FLOAT * (8 * 16 + 4 * 8)
        y = layer(x)
        assert ledger.live == FLOAT * (8 * 16 + 4 * 8 + 4 * 16)
        views = y.view(2, 2, 16), y.transpose(0, 1), y.detach()
        assert ledger.live == ledger.peak == FLOAT * (8 * 16 + 4 * 8 + 4 * 16)  # a view holds nothing of its own
        del y, views
    assert ledger.live == FLOAT * (8 * 16 + 4 * 8)
    assert ledger.peak == FLOAT * (8 * 16 + 4 * 8 + 4 * 16)


@pytest.mark.parametrize("learns", [True, False])
def test_what_the_backward_pass_needs_is_held(learns):
    """GELU keeps its input, (4, 16), and only where there is a backward pass."""
    ledger = Ledger()
    with FakeTensorMode(), ledger, torch.set_grad_enabled(learns):
        layer, x = nn.Linear(8, 16, bias=False), torch.empty(4, 8)
        before = ledger.live
        y = nn.functional.gelu(layer(x))
        assert ledger.live - before == FLOAT * 4 * 16 * (2 if learns else 1)
        if learns:
            y.sum().backward()
            assert layer.weight.grad.shape == (16, 8)
            del y
            assert ledger.live - before == FLOAT * 8 * 16  # the gradient alone is left


def test_bf16_copies_of_weights_are_counted():
    ledger = Ledger()
    with FakeTensorMode(), ledger, torch.autocast("cpu", torch.bfloat16):
        layer, x = nn.Linear(8, 16, bias=False), torch.empty(4, 8)
        before = ledger.live
        y = layer(x)
        assert y.dtype == torch.bfloat16
        assert ledger.live - before == 2 * (8 * 16 + 4 * 8 + 4 * 16)  # weight, input, output


@pytest.mark.parametrize("stage_name", ["align", "denoise"])
def test_weights_optimiser_and_averages_are_exact(counted, stage_name):
    recipe = debug_recipe()
    stage = next(stage for stage in recipe.stages if stage.name == stage_name)
    predicted = counted(recipe, stage, 16, dummies(recipe))
    dry_run = DryRun(recipe, stage, task_of(recipe).dummy_batch(recipe, stage, 4))
    dry_run.step(4)
    run = dry_run.trainer
    assert predicted.weights == sum(value.nbytes for value in run.model.state_dict().values())
    trained = sum(p.numel() for p in run.trained.values())
    assert predicted.ema == FLOAT * trained
    learning = [p for p in run.trained.values() if p in run.optimiser.state]  # an alignment never meets the null
    assert predicted.optimiser == FLOAT * sum(2 * p.numel() + 1 for p in learning)  # two moments and a step count


def test_what_a_batch_adds_grows_with_it(working):
    four, eight, sixteen = (working(size) for size in (4, 8, 16))
    assert sixteen - eight == pytest.approx(2 * (eight - four), rel=0.05)
    assert sixteen > eight > four


def test_every_layer_adds_as_much_and_checkpointing_saves_it(working):
    shallow, deep, deeper = working(16, "denoiser.depth=1"), working(16), working(16, "denoiser.depth=3")
    assert deeper - deep == pytest.approx(deep - shallow, rel=0.05)
    assert working(16, "denoiser.depth=3", "stages.denoise.gradient_checkpointing=true") < 0.8 * deeper


def test_a_second_micro_batch_finds_the_gradients_of_the_first(counted):
    """They are there while it keeps what its own backward pass needs; of one alone they come as that goes."""
    recipes = (debug_recipe(f"stages.denoise.gradient_accumulation_steps={num}") for num in (1, 2))
    first, second = (counted(recipe, recipe.stages[1], 16, dummies(recipe)) for recipe in recipes)
    assert second.weights == first.weights
    # The averages are as large as the gradients.
    assert second.working - first.working == pytest.approx(first.ema, rel=0.01)


def test_a_large_recipe_needs_no_memory_to_be_counted():
    recipe = find_recipe("image-to-speech-large", ["denoiser.depth=4"])
    stage = recipe.stages[1]
    found = predict_memory(recipe, stage, micro_batch(stage), dummies(recipe))
    assert found.ema == FLOAT * 112_532_576
    assert found.total > 5 * found.ema  # weights, two moments, average and gradient


def test_a_conditioner_that_reads_classes_is_counted_too():
    recipe = debug_recipe()
    recipe.conditioner = build(Labels, width=32)
    assert predict_memory(recipe, recipe.stages[1], 4, dummies(recipe)).working > 0


class Reckoned:
    """A dry run whose step takes u + a (c + b s) seconds, and says so."""

    sizes: list[tuple[int, int]] = []  # noqa: RUF012

    def __init__(self, *_: object) -> None:
        self.sizes.clear()

    def step(self, batch_size: int, accumulation: int = 1) -> float:
        self.sizes.append((batch_size, accumulation))
        return 0.5 + accumulation * (0.25 + batch_size * 0.75)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(64, 1), (64, 4), (64, 64), (4, 1), (2, 1), (1, 1)])
def test_seconds_are_reckoned_from_smaller_steps(batch_size, accumulation, monkeypatch):
    monkeypatch.setattr(cost, "DryRun", Reckoned)
    monkeypatch.setattr(cost, "time_once", lambda run: run())
    monkeypatch.setattr(cost.gc, "collect", lambda: 0)
    recipe = debug_recipe(
        f"stages.denoise.batch_size={batch_size}", f"stages.denoise.gradient_accumulation_steps={accumulation}"
    )
    micro = batch_size // accumulation
    for largest in {micro, min(micro, 2)}:
        seconds, _ = time_step(recipe.to_dict(), "denoise", largest, dummies(recipe))
        assert seconds == pytest.approx(0.5 + accumulation * 0.25 + batch_size * 0.75)
        assert max(b for b, _ in Reckoned.sizes) == largest


def test_a_step_is_predicted_in_a_process_of_its_own(cache, counted, monkeypatch):
    monkeypatch.setattr(cost, "predict_memory", counted)
    recipe = debug_recipe()
    found = predict(recipe, recipe.stages[1], dummies(recipe))
    assert (found.stage, found.batch_size, found.micro_batch, found.dry_run_batch) == ("denoise", 16, 16, 16)
    assert found.seconds > 0
    parts = found.memory
    assert parts.total == parts.weights + parts.optimiser + parts.ema + parts.working + parts.overhead
    assert parts.overhead > 0  # the libraries' own, on Linux


def test_a_step_that_does_not_fit_is_not_tried(counted, monkeypatch):
    monkeypatch.setattr(cost, "physical_memory", lambda: 1000)
    monkeypatch.setattr(cost, "predict_memory", counted)
    call = ["show", DEBUG, "--cost", *(f"--set=stages.{name}.precision='no'" for name in ("align", "denoise"))]
    shown = CliRunner().invoke(app, call)
    assert shown.output.count("more than this machine has; raise gradient_accumulation_steps") == 2
    shown = CliRunner().invoke(app, [*call, "--json"])
    costs = json.loads(shown.output.splitlines()[-1])["cost"]
    assert [(one["stage"], one["seconds"]) for one in costs] == [("align", None), ("denoise", None)]
    assert "synesthete show RUN --cost" in CliRunner().invoke(app, call).output  # how sampling is measured
    assert all(one["bytes"] == sum(one["memory"].values()) > 1000 for one in costs)


def test_the_time_of_a_step_is_without_that_of_neighbours(monkeypatch):
    """Ten seconds on the clock, of which a thread had the processor for six."""
    clock, waits = iter((100.0, 110.0)), iter((1.0, 5.0))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(cost, "seconds_waited", lambda: next(waits))
    assert cost.time_once(lambda: None) == 6
