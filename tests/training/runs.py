"""What tests of training share: a run of the debug twin, stopped, started elsewhere, and read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from tiny import DEBUG

if TYPE_CHECKING:
    from pathlib import Path

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
