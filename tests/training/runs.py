"""What tests of training share: a run of the debug twin, stopped, started elsewhere, by several processes, and read."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
import warnings
from typing import TYPE_CHECKING

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from tiny import DEBUG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The command of the docs, as a module.
FSDP = (
    *("-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)

# Previews need not sound well here, nor the network be good.
QUICK = (
    "codec.num_iterations=1",
    "sampling.num_inference_steps=1",
    "weights=float32",
    "denoiser.depth=1",
    "stages.align.batch_size=4",
    "stages.denoise.batch_size=4",
)


class StoppedError(Exception):
    """The run was killed here."""


def stop_after(stage: str, step: int):
    def report(said):
        if (said.stage, said.step) == (stage, step):
            raise StoppedError

    return report


def metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "seconds_left")} for line in lines]


def command(folder: Path, *assignments: str) -> list[str]:
    """The arguments of python that train the debug twin in float32."""
    sets = [f"stages.{name}.precision='no'" for name in ("align", "denoise")] + list(assignments)
    options = ["--no-classifier", "--no-watch", "--out", str(folder), *(part for s in sets for part in ("--set", s))]
    return ["-m", "synesthete", "train", DEBUG, *options]


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {"SYNESTHETE_CACHE": str(cache), "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}


def kept(folder: Path) -> dict:
    """Everything that a run keeps but its times: every tensor, every number."""
    found: dict = {"metrics": metrics(folder)}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            found |= {f"{name}/{key}": value for key, value in load_file(path).items()}
        elif path.suffix == ".json" and name.startswith(("checkpoints", "model")):
            values = json.loads(path.read_text())
            found[name] = values | {"seconds": None} if isinstance(values, dict) else values
        elif path.suffix in (".png", ".wav", ".yaml"):
            found[name] = path.read_bytes()
    return found


def assert_same(folder: Path, other: Path) -> None:
    ours, theirs = kept(folder), kept(other)
    assert ours.keys() == theirs.keys()
    differ = [k for k, v in ours.items() if not (torch.equal(v, theirs[k]) if torch.is_tensor(v) else v == theirs[k])]
    assert not differ, differ[:4]


def forked(
    train: Callable[[], object], said: Path, *, sharded: bool = False, num: int = 2, patience: float = 400.0
) -> str:
    """What processes warn of that train as torchrun's do, or as those of FSDP's launcher; files in `said`.

    Forks, since a launcher and its processes would each import the libraries: most of what such a test takes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(num)}
    if sharded:
        arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([*FSDP[2:], "train.py"]))
        told |= prepare_multi_gpu_env(arguments)
    told |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    children = []
    for rank in map(str, range(num)):
        if child := os.fork():
            children.append(child)
            continue
        code, own = 1, said / f"said-{rank}"
        try:
            os.environ |= told | {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": str(num)}
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                train()
            own.write_text("\n".join(str(one.message) for one in seen))
            torch.distributed.destroy_process_group()
            code = 0
        except BaseException:
            own.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    deadline, codes = time.monotonic() + patience, {}
    while len(codes) < num and time.monotonic() < deadline:
        time.sleep(0.02)
        codes |= {
            one: status for one in {*children} - {*codes} for done, status in [os.waitpid(one, os.WNOHANG)] if done
        }
        if any(codes.values()):
            break
    for one in {*children} - {*codes}:  # the other one waits for it
        os.kill(one, signal.SIGKILL)
        os.waitpid(one, 0)
    warned = "".join(path.read_text() for path in said.glob("said-*"))
    assert list(codes.values()) == [0] * num, warned
    return warned
