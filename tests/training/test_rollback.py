"""A loss that rises and stays takes a run back to its last good state; all that it does then is exact, too."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import random
from functools import partial

import pytest
import torch
from runs import StoppedError, assert_same, metrics

from synesthete import seeding
from synesthete.objectives import Denoising
from synesthete.training import checkpoint, loop
from synesthete.training.checkpoint import SpikeWatch
from synesthete.training.run_log import DivergedError
from synesthete.types import InputError
from tiny_pictures import tiny_prepared, tiny_recipe

PATIENCE = 20
STEADY = [1.0] * 5000


def first_spike(losses, norms=STEADY):
    """The step, from 1, at which a spike is there, and the spike; (None, None) without one."""
    watch = SpikeWatch(PATIENCE)
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=False), start=1):
        if spike := watch.add({"loss": loss, "gradient_norm": norm}):
            return step, spike
    return None, None


def healthy(num, seed, spread):
    """Losses that fall from 1 to 0.05 and vary by that many e-folds from batch to batch."""
    drawn = random.Random(seed)
    return [(0.05 + 0.95 * math.exp(-step / 300)) * drawn.lognormvariate(0, spread) for step in range(num)]


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.15, 0.5, 1.0])
def test_a_healthy_run_has_no_spike(spread):
    """0.15 is what batches of 50 clips vary by; 1.0 is batches of one that differ by factors of 7."""
    for seed in range(2):
        norms = [n * 3 ** math.sin(i / 200) for i, n in enumerate(healthy(4000, seed + 100, 0.3))]
        assert first_spike(healthy(4000, seed, spread), norms) == (None, None)


def test_one_odd_batch_or_a_few_are_no_spike():
    losses = healthy(1000, 0, 0.15)
    losses[400] = 1e6
    losses[600:610] = [50.0] * 10
    losses[800:812:2] = [50.0] * 6
    assert first_spike(losses) == (None, None)


@pytest.mark.parametrize("times", [4.0, 100.0])
def test_a_loss_that_rises_and_stays_is_a_spike_within_its_patience(times):
    losses = healthy(1000, 1, 0.15)
    risen = losses[:500] + [times * loss for loss in losses[500:]]
    step, spike = first_spike(risen)
    assert 500 + 0.75 * PATIENCE <= step <= 500 + PATIENCE
    assert spike.figure == "loss"
    assert spike.reached / spike.level == pytest.approx(times, rel=0.3)
    assert str(spike).startswith("the loss rose from 0.")


def test_gradients_that_explode_are_one_too():
    norms = [0.5] * 500 + [20.0] * 100
    step, spike = first_spike(healthy(600, 2, 0.15), norms)
    assert (step, spike.figure) == (515, "gradient_norm")
    assert first_spike(healthy(600, 2, 0.15), [0.5] * 500 + [2.0] * 100) == (None, None)


def test_what_was_seen_goes_through_json_to_the_bit():
    losses = healthy(400, 3, 0.2)
    losses = losses[:300] + [10 * loss for loss in losses[300:]]
    whole = first_spike(losses)
    for cut in (50, 150, 299, 310):
        before, after = SpikeWatch(PATIENCE), SpikeWatch(PATIENCE)
        assert not any(before.add({"loss": loss, "gradient_norm": 1.0}) for loss in losses[:cut])
        after.restore(json.loads(json.dumps(before.state())))
        steps = (step for step, loss in enumerate(losses[cut:], cut + 1) if after.add({"loss": loss}))
        assert next(steps) == whole[0]


# runs

NUM_STEPS, RISE, GOOD = 26, 14, 10  # GOOD: the last checkpoint before the rise
SETS = (
    f"stages.denoise.num_steps={NUM_STEPS}",
    "stages.denoise.batch_size=4",
    "stages.denoise.checkpoint_every=5",
    "stages.denoise.preview_every=20",
    "stages.denoise.log_every=2",
    "stages.denoise.spike_patience=4",
    "sampling.num_inference_steps=1",
    "weights=float32",
)


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


@pytest.fixture(autouse=True, scope="module")
def patch():
    """Patches of the module; a run's level is that of few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SpikeWatch", partial(SpikeWatch, window=8))
        yield patch


FORWARD = Denoising.forward


@pytest.fixture(scope="module")
def rising(patch):
    """`rising(first, last)`: the loss is a hundred times as high in these steps, for so many ways of drawing them."""

    def rise(first, last=NUM_STEPS, ways=1):
        drawn = [(), *(("return", i) for i in range(1, 9))][:ways]
        seeds = {seeding.derive(0, "denoise", *way, step, 0) for way in drawn for step in range(first, last)}

        def forward(self, batch, generator):
            losses = FORWARD(self, batch, generator)
            return losses | {"loss": losses["loss"] * (100.0 if generator.initial_seed() in seeds else 1.0)}

        patch.setattr(Denoising, "forward", forward)

    return rise


@dataclasses.dataclass
class Reported:
    """What a run says; stops it after so many reports."""

    stop: int | None = None
    said: list = dataclasses.field(default_factory=list)

    def __call__(self, report):
        self.said.append(report)
        if len(self.said) == self.stop:
            raise StoppedError


def train(data, folder, *sets, report=None):
    recipe = tiny_recipe(*SETS, *sets)
    loop.train_recipe(recipe, data, folder, report=report or Reported())


@dataclasses.dataclass
class Watched:
    """Samples that write down which were asked for."""

    samples: object
    asked: list = dataclasses.field(default_factory=list)

    def __len__(self):
        return len(self.samples)

    def plain(self):
        return self.samples.plain()

    def batch(self, indices, generator):
        self.asked.append(indices.tolist())
        return self.samples.batch(indices, generator)


@pytest.fixture(scope="module")
def watched(data, tmp_path_factory, rising):
    """A run with a return, never stopped: its folder, its reports, the samples it asked for, and its warnings."""
    folder, reported, samples, warned = tmp_path_factory.mktemp("whole"), Reported(), Watched(data.train), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warned.append(record.getMessage())
    rising(RISE)
    logging.getLogger("synesthete").addHandler(handler)
    try:
        train(dataclasses.replace(data, train=samples), folder, report=reported)
    finally:
        logging.getLogger("synesthete").removeHandler(handler)
    return folder, reported.said, samples.asked, warned


@pytest.fixture(scope="module")
def whole(watched):
    return watched[0]


def test_a_run_goes_back_and_goes_on_with_other_batches(watched):
    folder, said, asked, warned = watched
    steps = [report.step for report in said]
    left = RISE + 3  # three of four steps are high
    assert steps == [*range(1, left), GOOD, *range(GOOD + 1, NUM_STEPS + 1)]
    [note] = said[left - 1].notes
    assert note.startswith(f"step {left}: the loss rose from ")
    assert note.endswith(f"and stayed there; went back to step {GOOD} to go on with other batches")
    assert any(note in warning for warning in warned)
    assert asked[GOOD:left] != asked[left : 2 * left - GOOD]
    assert len(asked) == left + NUM_STEPS - GOOD
    [line] = [line for line in metrics(folder) if "rolled_back_from" in line]
    assert (line["rolled_back_from"], line["step"], line["figure"]) == (left, GOOD, "loss")
    assert line["reached"] > 20 * line["level"]
    losses = {line["step"]: line["loss"] for line in metrics(folder) if "loss" in line}
    assert list(losses) == list(range(2, NUM_STEPS + 1, 2))  # each once, of the way that was gone to the end
    assert max(losses.values()) < 20
    assert (folder / "model" / "model_index.json").is_file()


def test_killed_before_at_and_after_a_rollback_it_is_the_same_run_to_the_bit(data, tmp_path, whole, rising):
    rising(RISE)

    def stop_where(reached):
        def report(said):
            if reached(said):
                raise StoppedError

        return report

    for reached in (
        lambda said: said.step == RISE + 1,
        lambda said: any("went back" in note for note in said.notes),
        lambda said: said.step == RISE + 7,
    ):
        with pytest.raises(StoppedError):
            train(data, tmp_path, report=stop_where(reached))
    train(data, tmp_path)
    assert_same(tmp_path, whole)
    place = "checkpoints/0-denoise/rollbacks.json"
    assert (tmp_path / place).read_text() == (whole / place).read_text()


@pytest.mark.parametrize("moment", ["before the rollback is written", "before the old way is deleted", "amid deleting"])
def test_killed_amid_a_rollback_it_is_the_same_run_to_the_bit(data, tmp_path, whole, rising, monkeypatch, moment):
    rising(RISE)

    def kill(*_):
        raise StoppedError

    replaced = os.replace

    def replace(path, to):
        return kill() if to.name == "rollbacks.json" else replaced(path, to)

    def half_delete(folder, _):
        (folder / f"step_{GOOD + 5:07d}" / "state.json").unlink()
        kill()

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        if moment == "before the rollback is written":
            patch.setattr(os, "replace", replace)
        else:
            patch.setattr(checkpoint, "remove_rolled_back", half_delete if moment == "amid deleting" else kill)
        train(data, tmp_path / "run")
    train(data, tmp_path / "run")
    assert_same(tmp_path / "run", whole)
    assert not list((tmp_path / "run").rglob(".*"))


@pytest.mark.parametrize("damage", [{"figure": 1}, {"step": "a"}, {"level": None}, {"more": 1}, {"to": 10**30}])
def test_rollbacks_of_other_types_are_one_line(tmp_path, damage):
    values = {"figure": "loss", "level": 0.1, "reached": 1.0, "step": 3, "to": 2} | damage
    (tmp_path / "rollbacks.json").write_text(json.dumps([values]))
    with pytest.raises(InputError, match=r"^.*rollbacks\.json: cannot be loaded") as caught:
        checkpoint.read_rollbacks(tmp_path)
    assert "\n" not in str(caught.value)


def test_before_the_first_checkpoint_it_begins_again(data, tmp_path, rising):
    rising(RISE)
    sets = ("stages.denoise.checkpoint_every=20",)
    reported = Reported()
    train(data, tmp_path / "whole", *sets, report=reported)
    assert [r.step for r in reported.said] == [*range(1, RISE + 3), 0, *range(1, NUM_STEPS + 1)]
    with pytest.raises(StoppedError):
        train(data, tmp_path / "stopped", *sets, report=Reported(RISE + 12))
    train(data, tmp_path / "stopped", *sets)
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_spike_that_comes_again_stops_the_run_with_advice(data, tmp_path, rising):
    rising(RISE, ways=9)
    with pytest.raises(DivergedError) as caught:
        train(data, tmp_path, "stages.denoise.max_rollbacks=2")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"step {RISE + 3} of stage denoise: the loss rose from ")
    assert "after 2 rollbacks from about here; the last good checkpoint is " in message
    assert f"step_{GOOD:07d}" in message
    assert "Lower learning_rate (now 0.0" in message
    kept = sorted(path.name for path in (tmp_path / "checkpoints/0-denoise").glob("step_*"))
    assert kept[-1] == f"step_{GOOD:07d}"
    # The model beside it is of that state, not of the spike.
    weights = torch.cat([p.flatten() for p in _loaded(tmp_path).denoiser.parameters()])
    assert weights.isfinite().all()
    # The same command tries once more, from there, with other batches; here they are good.
    rising(RISE, ways=3)
    train(data, tmp_path, "stages.denoise.max_rollbacks=2")
    assert [line["rolled_back_from"] for line in metrics(tmp_path) if "rolled_back_from" in line] == [RISE + 3] * 3


def _loaded(folder):
    from synesthete.pipeline import Pipeline

    return Pipeline.load(str(folder))


def test_a_single_odd_batch_takes_nothing_back(data, tmp_path, rising):
    rising(RISE, RISE + 2)
    reported = Reported()
    train(data, tmp_path, report=reported)
    assert [r.step for r in reported.said] == list(range(1, NUM_STEPS + 1))


def test_without_patience_a_run_is_left_alone(data, tmp_path, rising):
    rising(RISE)
    reported = Reported()
    train(data, tmp_path, "stages.denoise.spike_patience=null", report=reported)
    assert [r.step for r in reported.said] == list(range(1, NUM_STEPS + 1))
    state = json.loads((tmp_path / f"checkpoints/0-denoise/step_{NUM_STEPS:07d}/state.json").read_text())
    assert "spikes" not in state


def test_a_checkpoint_from_before_the_steps_in_question_is_kept(data, tmp_path):
    train(data, tmp_path, "stages.denoise.checkpoint_every=1", "stages.denoise.num_steps=8")
    kept = sorted(path.name for path in (tmp_path / "checkpoints/0-denoise").glob("step_*"))
    assert kept == [f"step_{step:07d}" for step in range(4, 9)]


def test_rollbacks_are_counted_while_a_run_gets_no_further():
    made = [checkpoint.Rollback("loss", 0.1, 1.0, step, step - 10) for step in (100, 1000, 1010, 1005)]
    assert checkpoint.num_at_same_place(made, 1020, 50) == 3
    assert checkpoint.num_at_same_place(made, 1100, 50) == 0
    assert checkpoint.num_at_same_place(made[:1], 130, 50) == 1
