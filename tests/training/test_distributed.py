"""Two processes train what one would: by DDP, by FSDP, and one going on where the other was stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils.launch import prepare_multi_gpu_env
from runs import QUICK, command, environment, metrics
from safetensors.torch import load_file

import launched
from synesthete.pipeline import Pipeline
from synesthete.training import loop
from tiny import debug_recipe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that others use, a launcher waits long for its processes
# The commands of the docs: torchrun and `accelerate launch --use_fsdp`, as modules.
DDP = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
FSDP = (
    *("-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)
# A bias before a norm of one channel a group: its gradient is rounding, which Adam makes steps of.
FREE = "conditioner.stages.0.bias"


def launch(launcher: tuple[str, ...], cache: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        [sys.executable, *launcher, *arguments], env=environment(cache), stdout=DEVNULL, stderr=PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.terminate()  # which the launcher hands on; its processes would outlive a kill
        _, errors = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, stderr=errors)


def forked(prepared, folder: Path, launcher: tuple[str, ...]) -> str:
    """Train in two forks that are told what the launcher tells its processes; what they warn of.

    The launcher and its processes would each import the libraries: most of what such a test takes.
    """
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([*launcher[2:], "train.py"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    told |= prepare_multi_gpu_env(arguments) | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    children = []
    for rank in ("0", "1"):
        if child := os.fork():
            children.append(child)
            continue
        code, said = 1, folder.parent / f"said-{rank}"
        try:
            os.environ |= told | {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                loop.train_recipe(debug_recipe(*QUICK), prepared, folder)
            said.write_text("\n".join(str(one.message) for one in seen))
            torch.distributed.destroy_process_group()
            code = 0
        except BaseException:
            said.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    deadline, codes = time.monotonic() + 400, {}
    while len(codes) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        codes |= {
            one: status for one in {*children} - {*codes} for done, status in [os.waitpid(one, os.WNOHANG)] if done
        }
        if any(codes.values()):
            break
    for one in {*children} - {*codes}:  # the other one waits for it
        os.kill(one, signal.SIGKILL)
        os.waitpid(one, 0)
    warned = "".join(path.read_text() for path in folder.parent.glob("said-*"))
    assert list(codes.values()) == [0, 0], warned
    return warned


def assert_close(folder: Path, other: Path, *, rel: float = 1e-4, weights: float = 1e-5) -> None:
    """The same losses, and checkpoints and a model with the same weights, moments and averages."""
    for ours, theirs in zip(metrics(folder), metrics(other), strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for name in {"loss", "gradient_norm", "learning_rate", "held_out_error"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=rel)
    ours, theirs = ({p.relative_to(f): p for f in (f,) for p in f.rglob("*.safetensors")} for f in (folder, other))
    assert ours.keys() == theirs.keys()
    for path, file in theirs.items():
        found, wanted = load_file(ours[path]), load_file(file)
        assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in wanted.items()}
        for key, value in wanted.items():
            if not FREE.endswith(key) and path.name != "ema.safetensors":
                assert torch.allclose(found[key], value, rtol=1e-3, atol=weights), f"{path}: {key}"
    assert torch.isfinite(Pipeline.load(str(folder))(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).signal).all()


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


def test_pieces_go_on_where_whole_weights_stopped(ddp, prepared, tmp_path):
    """FSDP from a checkpoint of DDP, in the middle of the first stage: the same losses, checkpoints and model."""
    folder = tmp_path / "run"
    shutil.copytree(ddp, folder)
    for path in ("checkpoints/0-align/step_0000006", "checkpoints/1-denoise", "model"):
        shutil.rmtree(folder / path)
    lines = [line for line in metrics(ddp) if line["stage"] == "align" and line["step"] <= 3]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "view tensor" not in forked(prepared, folder, FSDP)
    assert_close(folder, ddp)
    ours, theirs = (load_file(f / "checkpoints/1-denoise/step_0000006/ema.safetensors") for f in (folder, ddp))
    differ = [k for k, v in theirs.items() if not torch.allclose(ours[k], v, rtol=1e-3, atol=1e-5)]
    assert len(differ) <= 1  # FREE


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
    started = time.monotonic()
    ran = launch(FSDP, cache, command(tmp_path / "run", *QUICK, "stages.align.learning_rate=1e30"))
    assert ran.returncode != 0
    assert time.monotonic() - started < 350
    assert "is not finite; no checkpoint had been written yet" in ran.stderr
