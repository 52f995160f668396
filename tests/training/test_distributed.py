"""Two processes train what one would: by DDP, by FSDP, and one going on where the other was stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
import torch
from hearing_runs import published_recipe
from runs import FSDP, QUICK, assert_same, command, environment, forked, metrics
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp

import launched
from conditioning.claps import write_clap
from denoisers.tiny_diffusion import write_stable_diffusion
from paired_files import write_classes
from synesthete import tasks
from synesthete.config import Stage, build
from synesthete.objectives import Denoising
from synesthete.pipeline import Pipeline
from synesthete.training import loop, sharding
from synesthete.training.run_folder import share_step, store_of_this_start
from synesthete.training.run_log import write_environment
from synesthete.types import InputError
from tiny import debug_recipe

pytestmark = pytest.mark.timeout(1800)  # on a machine that others use, a launcher waits long for its processes
# The command of the docs, as a module.
DDP = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
WAITED_IN_VAIN = 124
# A bias before a norm of one channel a group: its gradient is rounding, which Adam makes steps of.
FREE = "stages.0.bias"  # of the conditioner


def launch(launcher: tuple[str, ...], cache: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        [sys.executable, *launcher, *arguments], env=environment(cache), stdout=DEVNULL, stderr=PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.terminate()  # which the launcher hands on; its processes would outlive a kill
        _, errors = process.communicate()
        return subprocess.CompletedProcess(arguments, WAITED_IN_VAIN, stderr=errors)
    return subprocess.CompletedProcess(arguments, process.returncode, stderr=errors)


def train_apart(prepared, folder: Path, recipe=None, **how) -> str:
    """What processes warn of that train the debug twin, or a recipe."""
    return forked(lambda: loop.train_recipe(recipe or debug_recipe(*QUICK), prepared, folder), folder.parent, **how)


def held(folder: Path) -> dict[str, torch.Tensor]:
    """All that a run's models and checkpoints hold, whole, by file or kind, and name."""
    found = {}
    for path in folder.rglob("*.safetensors"):
        place = path.relative_to(folder)
        kind = {"model": "model", "optimiser": "optimiser", "ema": "averages"}.get(path.stem)
        if place.parts[0] != "checkpoints":
            found |= {f"{place}/{name}": value for name, value in load_file(path).items()}
        elif kind:
            found |= {f"{place.parent}/{kind}/{name}": value for name, value in load_file(path).items()}
    for folder_of in {path.parent for path in folder.rglob("shard-*.safetensors")}:
        kept = {
            name: torch.empty(one.size, dtype=one.properties.dtype)
            for name, one in sharding.sizes_in(folder_of).items()
        }
        sharding.fill_from(folder_of, kept)
        kept = {name: value[0] if name.endswith("/step") else value for name, value in kept.items()}
        found |= {f"{folder_of.relative_to(folder)}/{name}": value for name, value in kept.items()}
    return found


def assert_close(folder: Path, other: Path, *, rel: float = 1e-4, weights: float = 1e-5) -> None:
    """As `assert_runs_close`, and the model speaks."""
    assert_runs_close(folder, other, rel, weights)
    assert torch.isfinite(Pipeline.load(str(folder))(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).signal).all()


def assert_runs_close(folder: Path, other: Path, rel: float = 1e-4, weights: float = 1e-5) -> None:
    """The same losses, and checkpoints and a model with the same weights, moments and averages."""
    for ours, theirs in zip(metrics(folder), metrics(other), strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for name in {"loss", "gradient_norm", "learning_rate", "held_out_error"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=rel)
    found, wanted = held(folder), held(other)
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in wanted.items()}
    for key, value in wanted.items():
        if not key.endswith(FREE) and "/averages/" not in key:
            assert torch.allclose(found[key], value, rtol=1e-3, atol=weights), key


@pytest.fixture(scope="module")
def ddp(prepared, cache, tmp_path_factory) -> Path:
    """The debug twin trained by two gloo processes."""
    folder = tmp_path_factory.mktemp("ddp") / "run"
    ran = launch(DDP, cache, [launched.__file__, *command(folder, *QUICK)[2:]])
    assert ran.returncode == 0, ran.stderr
    return folder


def test_two_processes_equal_one_that_accumulates_twice(ddp, prepared, tmp_path):
    """A launcher whose processes did not find each other would train two models."""
    twice = [f"stages.{name}.gradient_accumulation_steps=2" for name in ("align", "denoise")]
    loop.train_recipe(debug_recipe(*QUICK, *twice), prepared, tmp_path / "one")
    assert_close(ddp, tmp_path / "one")


def stopped(run: Path, folder: Path) -> Path:
    """A copy of a run as it was in the middle of its first stage."""
    shutil.copytree(run, folder)
    for path in ("checkpoints/0-align/step_0000006", "checkpoints/1-denoise", "model"):
        shutil.rmtree(folder / path)
    lines = [line for line in metrics(run) if line["stage"] == "align" and line["step"] <= 3]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_one_process_goes_on_with_what_two_began_to_the_bit(ddp, prepared, tmp_path):
    """It accumulates by itself, in the stage after as well."""
    loop.train_recipe(debug_recipe(*QUICK), prepared, stopped(ddp, tmp_path / "run"))
    assert_same(tmp_path / "run", ddp)


def test_four_processes_go_on_with_what_two_began(ddp, prepared, tmp_path):
    """Two of them repeat what the others do."""
    train_apart(prepared, stopped(ddp, tmp_path / "run"), num=4)
    assert_close(tmp_path / "run", ddp)


def test_processes_share_the_micro_batches_that_a_run_began_with(tmp_path):
    stage = Stage("s", build(Denoising), batch_size=24, gradient_accumulation_steps=3)
    assert share_step(stage, tmp_path, 2) == (2, 3)  # nothing has begun
    write_environment(tmp_path, 2)
    assert [share_step(stage, tmp_path, num) for num in (1, 2, 3, 6, 12)] == [(1, 6), (2, 3), (3, 2), (6, 1), (6, 1)]
    with pytest.raises(InputError, match="start 1, 2, 3, 6, or a multiple of 6") as caught:
        share_step(stage, tmp_path, 4)
    assert "\n" not in str(caught.value)
    (tmp_path / "environment.json").write_text("[]")
    with pytest.raises(InputError, match=r"environment\.json: damaged"):
        share_step(stage, tmp_path, 2)


def test_another_batch_size_is_refused_and_what_to_set_is_said(ddp, prepared):
    for name, other in (("batch_size", 8), ("gradient_accumulation_steps", 2)):
        with pytest.raises(InputError, match=rf"--set stages\.denoise\.{name}=\d goes on with it") as caught:
            loop.train_recipe(debug_recipe(*QUICK, f"stages.denoise.{name}={other}"), prepared, ddp)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_launcher_starts_a_killed_process_again_and_the_end_is_the_same(ddp, cache, tmp_path, rank):
    """`--max-restarts`: the command line finds the last checkpoint by itself."""
    folder = tmp_path / "run"
    arguments = [*DDP, "--max-restarts", "3", launched.__file__, *command(folder, *QUICK)[2:]]
    launcher = subprocess.Popen(
        [sys.executable, *arguments], env=environment(cache), stdout=DEVNULL, stderr=PIPE, text=True
    )
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 400
    while time.monotonic() < deadline and not (log.exists() and '"align", "step": 4' in log.read_text()):
        time.sleep(0.01)
    main = json.loads((folder / ".lock").read_text())["process"]
    (other,) = {int(one) for one in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()} - {
        main
    }
    os.kill((main, other)[rank], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, errors
    assert "exitcode: -9" in errors
    assert_same(folder, ddp)


def test_processes_that_are_started_again_read_nothing_of_those_before(monkeypatch):
    """The launcher's store outlives them, and in it the addresses that they listened at."""
    kept = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda _: iter([(kept, 1, 2)]))
    assert store_of_this_start() == {}
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    stores = []
    for start in ("0", "1", "2"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", start)
        stores.append(store_of_this_start())
    assert not stores[0] and (stores[1]["rank"], stores[1]["world_size"]) == (1, 2)
    stores[1]["store"].set("where", "here")
    assert stores[1]["store"].check(["where"]) and not stores[2]["store"].check(["where"])
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")  # machines, which count their starts apart
    assert store_of_this_start() == {}


@pytest.fixture(scope="module")
def sharded(ddp, prepared, tmp_path_factory) -> Path:
    """The same run, which FSDP took up from a checkpoint of DDP, in the middle of the first stage."""
    folder = stopped(ddp, tmp_path_factory.mktemp("sharded") / "run")
    assert "view tensor" not in train_apart(prepared, folder, sharded=True)
    return folder


def test_pieces_go_on_where_whole_weights_stopped(sharded, ddp):
    """The same losses, checkpoints and model; each process has written its own pieces, and no pickle."""
    assert_close(sharded, ddp)
    ours, theirs = ({k: v for k, v in held(f).items() if "0006/averages/" in k} for f in (sharded, ddp))
    differ = [k for k, v in theirs.items() if not torch.allclose(ours[k], v, rtol=1e-3, atol=1e-5)]
    assert len(differ) <= 2  # FREE, in each stage
    last = sharded / "checkpoints/1-denoise/step_0000006"
    assert sorted(path.suffix for path in last.iterdir()) == [".json", ".safetensors", ".safetensors"]
    assert json.loads((last / "state.json").read_text())["num_pieces"] == 2


def in_the_second_stage(run: Path, folder: Path) -> Path:
    """A copy of a run as it was after its last checkpoint but one."""
    shutil.copytree(run, folder)
    for path in ("checkpoints/1-denoise/step_0000006", "model"):
        shutil.rmtree(folder / path)
    return folder


def test_one_process_goes_on_with_pieces_and_half_written_ones_are_not_taken(sharded, ddp, prepared, tmp_path):
    folder = in_the_second_stage(sharded, tmp_path / "run")
    half = folder / "checkpoints/1-denoise/.step_0000006.partial"
    shutil.copytree(folder / "checkpoints/1-denoise/step_0000003", half)
    loop.train_recipe(debug_recipe(*QUICK), prepared, folder)
    assert_close(folder, ddp)
    assert not half.exists()


@pytest.mark.slow
def test_four_sharded_processes_go_on_with_pieces_of_two(sharded, ddp, prepared, tmp_path):
    folder = in_the_second_stage(sharded, tmp_path / "run")
    train_apart(prepared, folder, sharded=True, num=4)
    assert_close(folder, ddp)


def test_a_piece_that_is_missing_or_damaged_is_one_line(sharded, prepared, tmp_path):
    folder = in_the_second_stage(sharded, tmp_path / "run")
    pieces_of = sorted((folder / "checkpoints/1-denoise/step_0000003").glob("*.safetensors"))
    pieces_of[1].write_bytes(pieces_of[1].read_bytes()[:1000])
    with pytest.raises(InputError, match=r"step_0000003: cannot be loaded .*; remove it") as caught:
        loop.train_recipe(debug_recipe(*QUICK), prepared, folder)
    assert "\n" not in str(caught.value)
    pieces_of[1].unlink()
    with pytest.raises(InputError, match=r"step_0000003: cannot be loaded \(1 of 2 pieces\); remove it"):
        loop.train_recipe(debug_recipe(*QUICK), prepared, folder)


def test_a_disk_that_is_full_for_one_process_stops_all_in_a_line(ddp, prepared, tmp_path, monkeypatch):
    """What was half written is not taken, and the checkpoint before is left alone."""
    real = dcp.HuggingFaceStorageWriter.write_data

    def write(self, *plan):
        if torch.distributed.get_rank() == 1:
            raise OSError(28, "No space left on device")
        return real(self, *plan)

    monkeypatch.setattr(dcp.HuggingFaceStorageWriter, "write_data", write)
    folder = stopped(ddp, tmp_path / "run")
    with pytest.raises(
        AssertionError, match=r"InputError: .*step_0000006: cannot be written \(No space left on device\)"
    ):
        train_apart(prepared, folder, sharded=True)
    assert [path.name for path in (folder / "checkpoints/0-align").glob("step_*")] == ["step_0000003"]
    monkeypatch.undo()
    loop.train_recipe(debug_recipe(*QUICK), prepared, folder)
    assert_close(folder, ddp)


def test_adapters_in_pieces_leave_the_published_base_out_and_go_on(cache, tmp_path):
    """Sharded with the base, and kept without: what two write, two and one go on with, as one that accumulates."""
    write_classes(tmp_path / "in")
    base, clap = write_stable_diffusion(tmp_path / "base"), write_clap(tmp_path / "clap")
    recipe = published_recipe(tmp_path / "in", base, clap)
    data, folder = tasks.prepare(recipe, tmp_path / "prepared"), tmp_path / "pieces"
    train_apart(data, folder, sharded=True, recipe=recipe)
    last = folder / "checkpoints/1-lora/step_0000002"
    kept = {name.split("/")[1].removeprefix("denoiser.") for name in sharding.sizes_in(last) if "/denoiser." in name}
    whole = Pipeline.load(str(folder)).denoiser.state_dict()
    assert kept == {name for name in whole if ".lora_" in name or ".processor." in name}
    assert not (last / "model.safetensors").exists() and len([*last.glob("*.safetensors")]) == 2
    for again, sharded in (("two", True), ("one", False)):
        shutil.copytree(folder, tmp_path / again)
        for path in (last.relative_to(folder), "model", "after-lora"):
            shutil.rmtree(tmp_path / again / path)
        if sharded:
            train_apart(data, tmp_path / again, sharded=True, recipe=recipe)
        else:
            loop.train_recipe(recipe, data, tmp_path / again)
        assert_runs_close(tmp_path / again, folder)
    for stage in recipe.stages:
        stage.gradient_accumulation_steps = 2
    loop.train_recipe(recipe, data, tmp_path / "whole")
    assert_runs_close(folder, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_pieces_killed_go_on_and_equal_whole_weights(cache, prepared, tmp_path, precision):
    """With accumulation and gradient checkpointing; DDP and FSDP in bf16 round at other places."""
    changes = [
        *QUICK,
        "stages.denoise.gradient_accumulation_steps=2",
        "stages.denoise.gradient_checkpointing=true",
        "stages.denoise.num_steps=12",
        f"stages.denoise.precision='{precision}'",
    ]
    folder = tmp_path / "pieces"
    arguments = [sys.executable, *FSDP, *command(folder, *changes)]
    process = subprocess.Popen(arguments, env=environment(cache), stdout=DEVNULL, stderr=DEVNULL)
    log = folder / "metrics.jsonl"
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and not (log.exists() and '"denoise", "step": 5' in log.read_text()):
        time.sleep(0.05)
    os.kill(json.loads((folder / ".lock").read_text())["process"], signal.SIGKILL)
    assert process.wait(timeout=200) != 0
    ran = launch(FSDP, cache, command(folder, *changes))
    assert ran.returncode == 0, ran.stderr
    assert not list(folder.rglob(".*"))
    ran = launch(DDP, cache, command(tmp_path / "whole", *changes))
    assert ran.returncode == 0, ran.stderr
    exact = precision == "no"
    assert_close(folder, tmp_path / "whole", rel=1e-4 if exact else 0.03, weights=1e-5 if exact else 0.02)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_all_processes(cache, prepared, tmp_path):
    """One process meets it; the other must not wait for ever."""
    ran = launch(FSDP, cache, command(tmp_path / "run", *QUICK, "stages.align.learning_rate=9e18"))
    assert ran.returncode not in (0, WAITED_IN_VAIN)
    assert "is not finite; no checkpoint had been written yet" in ran.stderr
