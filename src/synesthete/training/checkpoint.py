"""Checkpoints: tensors in safetensors, the rest in JSON, written beside their place and renamed.

Random state is a function of (seed, step), so weights, optimiser, EMA and the step are all there is to save. The state
dictionaries are gathered by torch.distributed.checkpoint, which gives the same names on one process, DDP and FSDP.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from synesthete.io import read_json, write_folder
from synesthete.types import InputError, first_line

FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
# An alignment has no gradient for the null condition, and so no optimiser state.
SOME = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


def gather(model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole state dictionaries of the model and of the optimiser; every process has to call it."""
    return get_model_state_dict(model, options=FULL), get_optimizer_state_dict(model, optimiser, options=FULL)


def save_checkpoint(
    folder: Path,
    model_state: dict[str, Any],
    optimiser_state: dict[str, Any],
    ema: dict[str, torch.Tensor] | None,
    state: dict[str, Any],
) -> None:
    """Write one checkpoint folder. state: whatever JSON holds, the step among it."""

    def write(partial: Path) -> None:
        save_file({name: value.contiguous() for name, value in model_state.items()}, partial / "model.safetensors")
        state_of = optimiser_state["state"]
        tensors = {f"{name}/{key}": v.contiguous() for name, own in state_of.items() for key, v in own.items()}
        save_file(tensors, partial / "optimiser.safetensors")
        (partial / "optimiser.json").write_text(json.dumps(optimiser_state["param_groups"]))
        if ema is not None:
            save_file(ema, partial / "ema.safetensors")
        (partial / "state.json").write_text(json.dumps(state, indent=1))

    write_folder(folder, write)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Whatever a damaged checkpoint makes the libraries say becomes an InputError of one line."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = first_line(error)
        raise InputError(f"{folder}: cannot be loaded ({reason}); remove it to go on from the one before") from None


def restore(
    model: nn.Module, optimiser: torch.optim.Optimizer, folder: Path, left_out: frozenset[str] = frozenset()
) -> None:
    """Put a checkpoint's weights and optimiser state back. left_out: weights that it lacks, which stay as they are."""
    with reading(folder):
        how = SOME if left_out else FULL
        found = set_model_state_dict(model, load_file(folder / "model.safetensors"), options=how)
        if other := {*found.missing_keys, *found.unexpected_keys} - left_out:
            raise KeyError(min(other))
        groups = read_json(folder / "optimiser.json")
        groups = [group | {"betas": tuple(group["betas"])} for group in groups]
        state: dict[str, Any] = {}
        for name, value in load_file(folder / "optimiser.safetensors").items():
            parameter, _, key = name.rpartition("/")
            state.setdefault(parameter, {})[key] = value
        set_optimizer_state_dict(model, optimiser, {"state": state, "param_groups": groups}, options=SOME)
        for name, value in model.named_parameters():
            # It makes a state for parameters that never had a gradient, too.
            if name.removeprefix("module.") not in state:
                optimiser.state.pop(value, None)
        lay_out(optimiser)


def lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Lay every moment out in memory as its weight is.

    The fused step of AdamW walks both by their addresses: a contiguous moment beside a channels-last weight would be
    that of another element, which nothing says.
    """
    for weight, state in optimiser.state.items():
        for key, value in state.items():
            if value.shape == weight.shape and value.stride() != weight.stride():
                state[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint folder with the highest step in `folder`, or None."""
    found = sorted(path for path in folder.glob("step_*") if (path / "state.json").is_file())
    return found[-1] if found else None


def remove_old(folder: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints, and what a kill left half-written."""
    for path in [*sorted(folder.glob("step_*"))[:-keep], *folder.glob(".step_*")]:
        shutil.rmtree(path, ignore_errors=True)
