"""A run stopped at any moment and begun again is the run that was never stopped (laws 7, 8, 11 and 12)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from runs import QUICK, StoppedError, assert_same, kept, metrics, stop_after
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.conditioning.voices import VoicedPicture
from synesthete.config import build, register_class
from synesthete.objectives import Denoising
from synesthete.pipeline import Pipeline
from synesthete.training import assembly, checkpoint, loop, run_folder
from synesthete.training.run_folder import open_run
from synesthete.training.run_log import DivergedError
from synesthete.training.validation import NUM_TIMESTEP_BINS
from synesthete.types import InputError
from tiny import debug_recipe
from tiny_pictures import tiny_prepared, tiny_recipe


@dataclasses.dataclass
class Watched:
    """Samples that write down who was asked for, or break at a certain step."""

    samples: object
    asked: list = dataclasses.field(default_factory=list)
    broken_after: int | None = None

    def __len__(self):
        return len(self.samples)

    def plain(self):
        return self.samples.plain()  # looked at, not trained on

    def batch(self, indices, generator):
        self.asked.append(indices.tolist())
        batch = self.samples.batch(indices, generator)
        if self.broken_after is not None and len(self.asked) > self.broken_after:
            return dataclasses.replace(batch, signal=batch.signal * float("nan"))
        return batch


def watch(prepared, **settings):
    watched = Watched(prepared.train, **settings)
    return watched, dataclasses.replace(prepared, train=watched)


TEN = (
    *QUICK,
    "stages.align.num_steps=4",
    "stages.denoise.num_steps=10",
    "stages.denoise.checkpoint_every=5",
    "stages.denoise.preview_every=4",
    "stages.denoise.log_every=3",
)


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    """Ten steps in one go, and the samples they saw."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    watched, data = watch(prepared)
    loop.train_recipe(debug_recipe(*TEN), data, folder)
    return folder, watched.asked


# law 7


def test_ten_steps_equal_five_and_five(uninterrupted, prepared, tmp_path):
    """Weights, optimiser, EMA, metrics and the order of the data, to the bit; also where steps are done twice."""
    for stop in (("align", 2), ("align", 4), ("denoise", 5), ("denoise", 7), ("denoise", 9)):
        with pytest.raises(StoppedError):
            loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run", report=stop_after(*stop))
    watched, data = watch(prepared)
    loop.train_recipe(debug_recipe(*TEN), data, tmp_path / "run")
    assert_same(tmp_path / "run", uninterrupted[0])
    asked = watched.asked
    assert asked == uninterrupted[1][-len(asked) :]
    assert 0 < len(asked) < len(uninterrupted[1])


TINY = (
    "stages.denoise.batch_size=4",
    "stages.denoise.num_warmup_steps=2",
    "stages.denoise.learning_rate=1e-3",
    "sampling.num_inference_steps=1",
    "weights=float32",
)


CONSTANT = ("1e-3", (), [1e-3, 1e-3, 1e-3])
RESTARTED = ("1e-5", ("stages.denoise.cosine_restarts=[4]",), [1e-5, 5e-4, 1e-5])


@pytest.mark.parametrize(("rate", "more", "last_rates"), [CONSTANT, RESTARTED])
def test_a_finished_run_goes_on_where_its_rate_allows(tmp_path, rate, more, last_rates):
    """As if it had been asked for all the steps at once: at a constant rate, or where a new cosine is asked for."""
    sets = (*TINY, f"stages.denoise.min_learning_rate={rate}", "stages.denoise.log_every=1")
    data, few, many = tiny_prepared(), (*sets, "stages.denoise.num_steps=4"), (*sets, "stages.denoise.num_steps=6")
    loop.train_recipe(tiny_recipe(*few), data, tmp_path / "run")
    if more:
        with pytest.raises(InputError, match=r"4 there, 6 here, and its learning rate fell .*cosine_restarts=\[4\] to"):
            loop.train_recipe(tiny_recipe(*many), data, tmp_path / "run")
    loop.train_recipe(tiny_recipe(*many, *more), data, tmp_path / "run")
    loop.train_recipe(tiny_recipe(*many, *more), data, tmp_path / "whole")
    ours, theirs = (kept(folder) for folder in (tmp_path / "run", tmp_path / "whole"))
    for place in ("checkpoints/0-denoise/step_0000006", "model"):
        tensors = [name for name, value in theirs.items() if name.startswith(place) and torch.is_tensor(value)]
        assert tensors and all(torch.equal(ours[name], theirs[name]) for name in tensors)
    rates = [line["learning_rate"] for line in ours["metrics"] if "learning_rate" in line]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3, *last_rates])
    with pytest.raises(InputError, match="num_steps is 6 there, 4 here"):  # and never back
        loop.train_recipe(tiny_recipe(*few), data, tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(uninterrupted, prepared):
    before = {p: p.stat().st_mtime_ns for p in uninterrupted[0].rglob("*.safetensors")}
    watched, data = watch(prepared)
    loop.train_recipe(debug_recipe(*TEN), data, uninterrupted[0])
    assert {p: p.stat().st_mtime_ns for p in uninterrupted[0].rglob("*.safetensors")} == before
    assert not watched.asked


def test_killed_at_a_random_moment_it_goes_on_to_the_bit(prepared, tmp_path):
    changes = (
        *QUICK,
        "stages.denoise.num_steps=12",
        "stages.denoise.checkpoint_every=3",
        "stages.denoise.preview_every=12",
    )
    moment = random.Random().uniform(1, 17)
    child = os.fork()  # what is killed is a process of its own
    if not child:
        with contextlib.suppress(BaseException):
            loop.train_recipe(debug_recipe(*changes), prepared, tmp_path / "killed")
        os._exit(0)
    log, deadline = tmp_path / "killed" / "metrics.jsonl", time.monotonic() + 100
    while time.monotonic() < deadline:
        if log.exists() and len(log.read_text().splitlines()) >= moment:
            break
        time.sleep(0.001)
    time.sleep(0.02 * (moment % 1))  # in the middle of a step
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before"
    assert log.exists()
    loop.train_recipe(debug_recipe(*changes), prepared, tmp_path / "killed")
    loop.train_recipe(debug_recipe(*changes), prepared, tmp_path / "whole")
    assert_same(tmp_path / "killed", tmp_path / "whole")
    left = [path.name for path in (tmp_path / "killed").rglob(".*")]
    assert not left, f"killed after {moment:.2f} lines: half-written things are left"


def test_killed_between_writing_and_renaming_it_goes_on_to_the_bit(tmp_path, monkeypatch):
    """At every call of os.replace and os.rename that a run makes, and at one of os.fsync."""
    data = tiny_prepared()

    def run(folder):
        recipe = tiny_recipe(*TINY, "stages.denoise.num_steps=2", "stages.denoise.checkpoint_every=1")
        loop.train_recipe(recipe, data, folder)

    def kill(name, at):
        """The calls of os.NAME in a run that is killed at call number `at`."""
        real, calls = getattr(os, name), []

        def killer(*arguments):
            calls.append(arguments)
            if len(calls) == at:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, killer)
            if at is None:
                run(tmp_path / f"{name}-whole")
            else:
                with pytest.raises(KeyboardInterrupt):
                    run(tmp_path / f"{name}-{at}")
        return len(calls)

    totals = {name: kill(name, None) for name in ("replace", "rename")}
    assert totals["replace"] >= 4  # recipe, environment, metrics, the preview
    assert totals["rename"] >= 4  # the model twice, two checkpoints
    for name, at in (*((call, i + 1) for call in totals for i in range(totals[call])), ("fsync", 12)):
        kill(name, at)
        folder = tmp_path / f"{name}-{at}"
        for path in folder.rglob("*.safetensors"):  # what does not look half-written is whole
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):
                load_file(path)
        run(folder)
        assert_same(folder, tmp_path / "replace-whole")
        assert not list(folder.rglob(".*"))


def test_killed_beside_its_last_checkpoint_the_model_is_the_last_one(prepared, uninterrupted, tmp_path, monkeypatch):
    """Written in the other order, a run that was killed there kept the model of the checkpoint before."""
    for part in ("save_checkpoint", "remove_old"):
        real = getattr(checkpoint, part)

        def kill(folder, *rest, real=real):
            if "denoise" in str(folder) and (not rest[1:] or rest[-1]["step"] == 10):
                raise KeyboardInterrupt
            real(folder, *rest)

        folder = tmp_path / part
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(checkpoint, part, kill)
            loop.train_recipe(debug_recipe(*TEN), prepared, folder)
        loop.train_recipe(debug_recipe(*TEN), prepared, folder)
        for path in (uninterrupted[0] / "model").rglob("*.safetensors"):
            ours = load_file(folder / path.relative_to(uninterrupted[0]))
            assert all(torch.equal(ours[key], value) for key, value in load_file(path).items())


def test_killed_while_the_run_folder_was_made_it_goes_on(prepared, tmp_path, monkeypatch):
    for number, (module, where) in enumerate(((run_folder, "write_environment"), (assembly, "make_parts"))):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            patch.setattr(module, where, lambda *_: (_ for _ in ()).throw(StoppedError))
            loop.train_recipe(debug_recipe(), prepared, folder)
        open_run(debug_recipe(), folder)
    folder = tmp_path / "partial"
    folder.mkdir()
    (folder / ".recipe.yaml.0a1b2c3d.partial").write_text("na")
    open_run(debug_recipe(), folder)
    assert (folder / "recipe.yaml").is_file()


# law 8


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_learning_rate_counts_optimiser_steps_and_ends_at_its_minimum(prepared, tmp_path, accumulation):
    sets = (*QUICK, "stages.align.num_steps=1", "stages.denoise.num_steps=8", "stages.denoise.checkpoint_every=8")
    recipe = debug_recipe(*sets, f"stages.denoise.gradient_accumulation_steps={accumulation}")
    peak = recipe.stages[1].learning_rate
    loop.train_recipe(recipe, prepared, tmp_path / "run")
    lines = [line for line in metrics(tmp_path / "run") if line["stage"] == "denoise" and "loss" in line]
    rates = [line["learning_rate"] for line in lines]
    assert len(rates) == 8
    assert rates[:3] == pytest.approx([peak / 2, peak, peak])
    assert rates[-1] == pytest.approx(1e-5, rel=1e-12)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    groups = json.loads((tmp_path / "run/checkpoints/1-denoise/step_0000008/optimiser.json").read_text())
    assert [group["lr"] for group in groups] == pytest.approx([1e-5] * len(groups), rel=1e-12)


@register_class
class Still(Denoising):
    """The loss at fixed noise and timesteps, so that a batch and its halves see the same."""

    def forward(self, batch, generator):
        def drawn(x_0):
            return torch.Generator().manual_seed(int(x_0.abs().sum() * 100) % 2**31)

        parts = [
            super(Still, self).forward(dataclasses.replace(batch, **one), drawn(one["signal"]))
            for one in (
                {"signal": batch.signal[i : i + 1], "raw": batch.raw[i : i + 1], "label": batch.label[i : i + 1]}
                for i in range(len(batch.signal))
            )
        ]
        return {"loss": torch.stack([part["loss"] for part in parts]).mean()}


def test_an_accumulated_batch_equals_the_whole_one(prepared, tmp_path):
    plain = dataclasses.replace(
        prepared.train, augmentation=None, x_0=prepared.train.x_0[:10], clip_labels=torch.arange(10)
    )
    data = dataclasses.replace(prepared, train=plain)
    for accumulation in (1, 4):
        recipe = debug_recipe(*QUICK, f"stages.denoise.gradient_accumulation_steps={accumulation}")
        recipe.stages = recipe.stages[1:]
        recipe.stages[0].objective = build(Still)
        recipe.stages[0].num_steps = 3
        loop.train_recipe(recipe, data, tmp_path / str(accumulation))
    whole = load_file(tmp_path / "1/checkpoints/0-denoise/step_0000003/model.safetensors")
    for ours, theirs in zip(metrics(tmp_path / "4"), metrics(tmp_path / "1"), strict=True):
        for name in {"loss", "gradient_norm"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)
    found = load_file(tmp_path / "4/checkpoints/0-denoise/step_0000003/model.safetensors")
    for key, value in whole.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=2e-4)


def test_the_averaged_weights_are_kept_and_are_those_of_the_model(uninterrupted):
    checkpoint = uninterrupted[0] / "checkpoints/1-denoise/step_0000010"
    state = json.loads((checkpoint / "state.json").read_text())
    assert state["ema_step"] == 10
    averaged = sorted(load_file(checkpoint / "ema.safetensors").items())
    raw = load_file(checkpoint / "model.safetensors")
    model = {
        f"{part}.{key}": value
        for part in ("conditioner", "denoiser")
        for key, value in load_file(uninterrupted[0] / "model" / part / "diffusion_pytorch_model.safetensors").items()
    }
    assert len(model) == len(averaged)
    sizes = sorted((value.double().sum().item(), value.numel()) for value in model.values())
    assert sizes == sorted((value.double().sum().item(), value.numel()) for _, value in averaged)
    assert any(not torch.equal(raw[key], value) for key, value in model.items())


@pytest.mark.parametrize("decay", ["0.995", "null"])
def test_sampling_works_with_and_without_averaged_weights(prepared, tmp_path, decay):
    recipe = debug_recipe(*QUICK, "stages.denoise.num_steps=3", f"stages.denoise.ema_decay={decay}")
    pipeline = Pipeline.load(str(loop.train_recipe(recipe, prepared, tmp_path / "run")))
    output = pipeline(prepared.test.pictures[:2], num_inference_steps=2)
    assert torch.isfinite(output.signal).all()
    checkpoint = tmp_path / "run/checkpoints/1-denoise/step_0000003"
    assert (checkpoint / "ema.safetensors").exists() == (decay != "null")
    raw = load_file(checkpoint / "model.safetensors")["denoiser.to_out.weight"]
    assert torch.equal(pipeline.denoiser.to_out.weight, raw) == (decay == "null")


# law 11


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_last_checkpoint(prepared, tmp_path, uninterrupted):
    _, broken = watch(prepared, broken_after=4 + 7)  # the alignment's four, then seven good ones
    with pytest.raises(DivergedError) as caught:
        loop.train_recipe(debug_recipe(*TEN), broken, tmp_path / "run")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("step 8 of stage denoise: the loss of samples [")
    assert "is not finite; the last good checkpoint is " in message
    assert "step_0000005" in message
    assert all(torch.isfinite(v).all() for v in kept(tmp_path / "run").values() if torch.is_tensor(v))
    assert torch.isfinite(Pipeline.load(str(tmp_path / "run"))(prepared.test.pictures[:1]).signal).all()
    loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")  # with the data mended it goes on
    assert_same(tmp_path / "run", uninterrupted[0])


def test_without_a_checkpoint_it_says_so(prepared, tmp_path):
    _, broken = watch(prepared, broken_after=0)
    with pytest.raises(DivergedError, match=r"step 1 of stage align: .* no checkpoint had been written yet"):
        loop.train_recipe(debug_recipe(), broken, tmp_path / "run")


def test_a_gradient_that_is_not_finite_stops_the_run_too(prepared, tmp_path, monkeypatch):
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    real = Denoising.forward
    monkeypatch.setattr(Denoising, "forward", lambda *a: (f := real(*a)) | {"loss": Steep.apply(f["loss"])})
    with pytest.raises(DivergedError, match="step 1 of stage denoise: the gradient is not finite"):
        loop.train_recipe(debug_recipe(), prepared, tmp_path / "run")


def test_a_full_disk_is_one_line_and_spares_the_last_checkpoint(prepared, tmp_path, monkeypatch, uninterrupted):
    real, calls = checkpoint.save_file, []

    def full(tensors, path):
        calls.append(path)
        if "step_0000010" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match=r"No space left on device.*free some space") as caught:
        loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob(".*"))
    loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")
    assert_same(tmp_path / "run", uninterrupted[0])


def test_a_damaged_checkpoint_is_one_line_that_says_what_to_do(prepared, tmp_path):
    with pytest.raises(StoppedError):
        loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run", report=stop_after("denoise", 6))
    path = tmp_path / "run/checkpoints/1-denoise/step_0000005/model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot be loaded .*; remove it to go on from the one before") as caught:
        loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [{"step": "a"}, {"sensitivities": [None]}, {"loss_by_timestep": "a"}])
def test_a_state_of_other_types_is_one_line(uninterrupted, prepared, tmp_path, damage):
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    last = checkpoint.latest_checkpoint(tmp_path / "run" / "checkpoints" / "1-denoise")
    state = json.loads((last / "state.json").read_text())
    (last / "state.json").write_text(json.dumps(state | damage))
    with pytest.raises(InputError, match="cannot be loaded"):
        loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")


# law 12 and what a run leaves behind


def test_a_run_folder_holds_no_pickle_and_no_path_of_its_maker(uninterrupted):
    for path in uninterrupted[0].rglob("*"):
        if path.is_file() and not path.name.startswith("events.out.tfevents"):
            assert path.suffix in {".md", ".yaml", ".json", ".jsonl", ".png", ".wav", ".safetensors"}, path
            if path.suffix == ".safetensors":
                assert load_file(path)
            else:
                assert path.read_bytes()[:1] != b"\x80"  # what pickles begin with
        if path.suffix in {".md", ".yaml", ".json", ".jsonl"}:
            text = path.read_text()
            assert str(Path.home()) + "/" not in text


def test_a_run_leaves_what_the_design_says(uninterrupted):
    folder, lines = uninterrupted[0], metrics(uninterrupted[0])
    assert {path.name for path in folder.iterdir()} == {
        *("recipe.yaml", "environment.json", "metrics.jsonl", "tensorboard", "previews", "checkpoints", "model")
    }
    looks = [line for line in lines if "condition_sensitivity" in line]
    assert [line["step"] for line in looks] == [4, 8, 10]
    assert all({"held_out_error", "stage"} <= line.keys() for line in looks)
    logged = [line for line in lines if "loss_by_timestep" in line]
    assert [line["step"] for line in logged] == [3, 6, 9, 10]
    assert all(len(line["loss_by_timestep"]) == NUM_TIMESTEP_BINS for line in logged)
    for stage in ("align", "denoise"):
        assert list((folder / "tensorboard" / stage).glob("events.out.tfevents.*"))
    assert {p.name for p in (folder / "previews").iterdir()} == {
        f"step_{step:07d}.{kind}" for step in (4, 8, 10) for kind in ("png", "wav")
    }
    assert [p.name for p in sorted((folder / "checkpoints/1-denoise").iterdir())] == ["step_0000005", "step_0000010"]
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"] == version("torch")


def test_a_model_that_ignores_its_condition_says_so(prepared, tmp_path):
    notes = []
    loop.train_recipe(debug_recipe(), prepared, tmp_path / "run", report=lambda said: notes.extend(said.notes))
    assert any("the model ignores its condition" in note for note in notes)


def test_a_run_of_another_recipe_is_refused_with_the_first_difference(uninterrupted, prepared, tmp_path):
    for change, named in (
        ("denoiser.depth=3", "denoiser.depth is 1 there, 3 here"),
        ("stages.denoise.num_steps=9", "stages.1.num_steps is 10 there, 9 here"),
        ("stages.align.num_steps=5", "stages.0.num_steps is 4 there, 5 here"),
        (
            "stages.denoise.num_steps=11",
            "stages.1.num_steps is 10 there, 11 here, and its learning rate fell over those 10; add --set "
            "stages.denoise.cosine_restarts=[10] to raise it again",
        ),
        ("data.sources.mnist.path=x", "data.sources.1.path is None there, x here"),
    ):
        with pytest.raises(InputError) as caught:
            loop.train_recipe(debug_recipe(*TEN, change), prepared, uninterrupted[0])
        assert named in str(caught.value)
        assert "choose another --out or remove it" in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(InputError, match="not empty and not a run; choose another --out"):
        loop.train_recipe(debug_recipe(), prepared, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        loop.train_recipe(debug_recipe(), prepared, tmp_path / "file")


def test_a_batch_that_does_not_divide_is_one_line(prepared, tmp_path):
    with pytest.raises(InputError, match="stage align: batch_size 16 does not divide into 3 parts"):
        loop.train_recipe(debug_recipe("stages.align.gradient_accumulation_steps=3"), prepared, tmp_path / "run")


def test_fine_tuning_begins_with_the_weights_of_a_model(uninterrupted, prepared, tmp_path):
    recipe = debug_recipe(*QUICK, "stages.denoise.learning_rate=1e-9", "stages.denoise.min_learning_rate=1e-10")
    recipe.stages = recipe.stages[1:]
    recipe.stages[0].num_steps = 1
    loop.train_recipe(recipe, prepared, tmp_path / "run", start=uninterrupted[0] / "model")
    ours, theirs = (
        load_file(folder / "model/denoiser/diffusion_pytorch_model.safetensors")
        for folder in (tmp_path / "run", uninterrupted[0])
    )
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match=r"its denoiser does not fit .*\(offsets is \(1, \d+\) there") as caught:
        loop.train_recipe(
            debug_recipe("denoiser.depth=3"), prepared, tmp_path / "other", start=uninterrupted[0] / "model"
        )
    assert "\n" not in str(caught.value)


def test_fine_tuning_takes_half_precision_and_other_class_names(pipeline, prepared, tmp_path):
    """A shipped model: weights in float16, and classes that are not those of the new data."""
    pipeline.config["card"] = {"class_names": ["cat", "dog"]}
    pipeline.save(tmp_path / "model", torch.float16)
    parts = assembly.make_parts(debug_recipe("seed=5"), prepared)
    assembly.load_start_weights(parts, tmp_path / "model")
    for name in ("conditioner", "denoiser"):
        theirs = getattr(pipeline, name).state_dict()
        for key, value in parts.modules()[name].state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, theirs[key].half().float())


def test_a_model_lends_one_part_where_the_other_is_of_another_shape(pipeline, prepared, tmp_path):
    pipeline.save(tmp_path / "model")
    parts = assembly.make_parts(debug_recipe("seed=5", "conditioner.widths=[8,8,16]"), prepared)
    fresh = {key: value.clone() for key, value in parts.conditioner.state_dict().items()}
    with pytest.raises(InputError, match=r"its conditioner does not fit .*--parts"):
        assembly.load_start_weights(parts, tmp_path / "model")
    assembly.load_start_weights(parts, tmp_path / "model", names=("denoiser",))
    for own, wanted in ((parts.conditioner, fresh), (parts.denoiser, pipeline.denoiser.state_dict())):
        assert all(torch.equal(value, wanted[key]) for key, value in own.state_dict().items())
    with pytest.raises(InputError, match="--parts codec: no part to begin with; there are conditioner, denoiser"):
        assembly.load_start_weights(parts, tmp_path / "model", names=("codec",))


def test_a_model_without_voices_lends_its_eyes_to_one_with_voices(pipeline, prepared, tmp_path):
    pipeline.save(tmp_path / "model")
    recipe = debug_recipe("seed=5")
    recipe.conditioner = build(VoicedPicture, picture=recipe.conditioner, width=recipe.conditioner.width)
    parts = assembly.make_parts(recipe, dataclasses.replace(prepared, told={"voices": ("ada", "bea")}))
    fresh = parts.conditioner.voice.weight.clone()
    assembly.load_start_weights(parts, tmp_path / "model")
    theirs = pipeline.conditioner.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in parts.conditioner.picture.state_dict().items())
    assert torch.equal(parts.conditioner.voice.weight, fresh)

    pipeline.conditioner = parts.conditioner
    pipeline.save(tmp_path / "voiced")
    others = assembly.make_parts(recipe, dataclasses.replace(prepared, told={"voices": ("bea", "cyd", "dan")}))
    new = others.conditioner.voice.weight.clone()
    assembly.load_start_weights(others, tmp_path / "voiced")
    assert torch.equal(others.conditioner.voice.weight, torch.stack([fresh[1], new[1], new[2], fresh[2]]))


def test_fine_tuning_trains_every_stage_from_the_models_weights(uninterrupted, prepared, tmp_path, monkeypatch):
    """The first stage begins with them; the later ones with those of the stage before."""
    seen = []
    real = assembly.load_start_weights
    monkeypatch.setattr(
        assembly, "load_start_weights", lambda parts, start, **k: seen.append(start) or real(parts, start, **k)
    )
    sets = (*QUICK, "stages.align.num_steps=1", "stages.denoise.num_steps=1")
    loop.train_recipe(debug_recipe(*sets), prepared, tmp_path / "run", start=uninterrupted[0] / "model")
    assert seen == [uninterrupted[0] / "model"]
    weights = load_file(tmp_path / "run/checkpoints/0-align/step_0000001/model.safetensors")
    theirs = load_file(uninterrupted[0] / "model/denoiser/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(weights[f"denoiser.{key}"], value) for key, value in theirs.items())


def test_a_run_folder_in_use_is_refused_and_left_alone(uninterrupted, prepared, tmp_path):
    refused = []

    def start_another(_):
        # Another thread, which is to the lock what another process is.
        def ask():
            try:
                loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run")
            except InputError as error:
                refused.append(str(error))

        if not refused:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()

    loop.train_recipe(debug_recipe(*TEN), prepared, tmp_path / "run", report=start_another)
    assert refused == [f"{tmp_path / 'run'}: process {os.getpid()} is writing to it; wait for it or choose another"]
    assert_same(tmp_path / "run", uninterrupted[0])


def test_processes_that_see_other_checkpoints_are_told_to_share_a_file_system(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "gather", lambda self, step: torch.tensor([0, 3]))
    with pytest.raises(InputError, match=r"checkpoints of steps 0, 3; put --out on a file system that all machines"):
        loop.train_recipe(debug_recipe(*QUICK), prepared, tmp_path / "run")


# golden


def test_the_first_losses_are_the_golden_ones(prepared, tmp_path, golden):
    """Four steps of each stage in float32: a change here is a change of what is trained."""
    sets = [f"stages.{name}.{key}={value}" for name in ("align", "denoise") for key, value in (("num_steps", 4),)]
    loop.train_recipe(debug_recipe(*sets), prepared, tmp_path / "run")
    golden("losses", [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line], rel=1e-3)


def test_a_seeded_sample_is_the_golden_one(pipeline, prepared, golden):
    output = pipeline(prepared.test.pictures[:2], generators=seeding.sample_generators(5, 2))
    golden("sample", output.x_0[:, 0, ::25, ::16].flatten().tolist(), rel=1e-3, abs=2e-3)
