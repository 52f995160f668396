"""What a run writes of its own health at every preview: values put out, averages against weights, time to the end."""

from __future__ import annotations

import pytest
import torch
from runs import metrics

from synesthete.objectives import one_step
from synesthete.pipeline import Pipeline
from synesthete.training import loop, validation
from tiny_pictures import tiny_prepared, tiny_recipe

SETS = (
    "stages.denoise.num_steps=4",
    "stages.denoise.batch_size=4",
    "stages.denoise.preview_every=2",
    "sampling.num_inference_steps=2",
    "weights=float32",
)
RANGE = {"output_low", "output_high", "data_low", "data_high", "share_outside", "share_clipped", "share_not_finite"}


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


def train(data, folder, *sets):
    """What a run says, and its lines by step."""
    notes: list[str] = []
    loop.train_recipe(tiny_recipe(*SETS, *sets), data, folder, report=lambda said: notes.extend(said.notes))
    lines: dict[int, dict] = {}
    for line in metrics(folder):
        lines.setdefault(line["step"], {}).update(line)
    return notes, lines


def test_every_preview_writes_the_values_put_out_and_those_of_the_data(data, tmp_path):
    _, lines = train(data, tmp_path)
    for step in (2, 4):
        assert RANGE | {"raw_held_out_loss", "held_out_loss"} <= lines[step].keys()
        assert lines[step]["share_not_finite"] == 0
        assert lines[step]["data_low"] < 0 < lines[step]["data_high"]
    codec = Pipeline.load(str(tmp_path)).codec
    low, high = lines[4]["data_low"], lines[4]["data_high"]
    ends = codec.encode(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, *codec.shape))
    assert ends.min() - 1e-3 <= low < high <= ends.max() + 1e-3


def test_time_to_the_end_is_in_the_log(data, tmp_path):
    train(data, tmp_path)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.count('"seconds_left": ') == 2
    assert '"seconds_left": 0.0}' in text.splitlines()[-1]


def test_without_averages_there_is_nothing_to_hold_against(data, tmp_path):
    _, lines = train(data, tmp_path, "stages.denoise.ema_decay=null")
    assert "held_out_loss" in lines[4]
    assert "raw_held_out_loss" not in lines[4]


def test_averages_that_lag_behind_are_told(data, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "fixed_loss", lambda *_, **__: torch.tensor([1e-3]))
    notes, lines = train(data, tmp_path)
    assert lines[4]["raw_held_out_loss"] == pytest.approx(1e-3)
    told = [note for note in notes if note.startswith("the averaged weights lag behind: held-out loss ")]
    assert len(told) == 2  # of the previews at and after half the steps
    assert "of the trained ones 0.001; lower ema_decay (now " in told[0]
    monkeypatch.setattr(validation, "fixed_loss", lambda *_, **__: torch.tensor([1e3]))
    assert not any("lag behind" in note for note in train(data, tmp_path / "other")[0])


def test_a_look_takes_no_more_samples_at_once_than_a_micro_batch(data, tmp_path, monkeypatch):
    sizes, real = [], one_step.predict_x_0
    monkeypatch.setattr(
        one_step, "predict_x_0", lambda parts, x_0, *rest: sizes.append(len(x_0)) or real(parts, x_0, *rest)
    )
    train(data, tmp_path, "stages.denoise.gradient_accumulation_steps=2")
    assert max(sizes) == 2


def test_outputs_far_from_the_data_are_told_in_plain_words(data, tmp_path, monkeypatch):
    real = Pipeline.trajectory

    def far(self, *args, **kwargs):
        yield from (1100 * x_t for x_t in real(self, *args, **kwargs))

    monkeypatch.setattr(Pipeline, "trajectory", far)
    notes, lines = train(data, tmp_path)
    told = [note for note in notes if note.startswith("outputs reach ")]
    assert len(told) == 2
    assert "lower learning_rate" in told[0]
    assert lines[4]["output_high"] > 100 * lines[4]["data_high"]


def test_outputs_that_are_not_finite_are_told_and_cost_the_preview_alone(data, tmp_path, monkeypatch):
    real = Pipeline.trajectory

    def broken(self, *args, **kwargs):
        yield from (float("nan") * x_t for x_t in real(self, *args, **kwargs))

    monkeypatch.setattr(Pipeline, "trajectory", broken)
    notes, lines = train(data, tmp_path)
    assert any(note.startswith("100.0% of the sampled cells are not finite") for note in notes)
    assert lines[4]["share_not_finite"] == 1
    assert not list((tmp_path / "previews").glob("*.png"))
    assert (tmp_path / "model" / "model_index.json").is_file()


def test_a_model_of_one_kind_shows_several_samples():
    assert validation.one_of_each(torch.zeros(64, dtype=torch.int64)).tolist() == [0, 1, 2, 3]
    assert validation.one_of_each(torch.tensor([2, 0, 2, 1])).tolist() == [1, 3, 0]
    assert validation.one_of_each(torch.tensor([5])).tolist() == [0]


def test_losses_by_timestep_are_the_same_however_many_processes_share_them():
    """To the bit: two that add their halves, and one that adds all in turn, which in float32 round otherwise."""
    draw = torch.Generator().manual_seed(0)
    batches = [
        {"timestep": torch.randint(1000, (8,), generator=draw), "per_sample": torch.rand(8, generator=draw) * 3}
        for _ in range(40)
    ]

    def sums(batches):
        held = validation.LossByTimestep(1000)
        for batch in batches:
            held.add(batch)
        return held.bins

    whole = sums(batches)
    assert whole[1].sum() == 320 and torch.equal(sums(batches[::-1]), whole)
    assert torch.equal(sums(batches[::2]) + sums(batches[1::2]), whole)
