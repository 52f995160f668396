"""Checkpoints: tensors in safetensors, the rest in JSON, written beside their place and renamed.

Random state is a function of (seed, step), so weights, optimiser, EMA and the step are all there is to save. The state
dictionaries are gathered by torch.distributed.checkpoint, which gives the same names on one process, DDP and FSDP.

And the way back to a run's last good state, where a loss rises far above its level and stays there. Such spikes are
found by medians, which a single odd batch does not move. Rollbacks are kept in a file: one has to survive a kill as a
checkpoint does.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict

from synesthete.config import build
from synesthete.config.recipe import step_of
from synesthete.io import read_json, write_file, write_folder
from synesthete.types import InputError, first_line

FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
# An alignment has no gradient for the null condition, and so no optimiser state.
SOME = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


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


FILE = "rollbacks.json"
ROLLED_BACK_FROM = "rolled_back_from"  # in metrics.jsonl, at the step that the run went back to
WINDOW = 100  # steps that the level is taken from, those just before the ones in question
SPREADS = 3.0  # above the level: standard deviations of single steps, by their median absolute deviation
TIMES = {"loss": 2.0, "gradient_norm": 10.0}  # above the level at the least; norms drift by threes in healthy runs
LASTING = 0.75  # share of the steps in question that have to be so high
NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation (Hampel 1974)
LEAST = 1e-12


@dataclass(frozen=True)
class Spike:
    """A figure that rose from `level` to `reached` and stayed there: medians before and since."""

    figure: str
    level: float
    reached: float

    def __str__(self) -> str:
        """In plain words."""
        return f"the {self.figure.replace('_', ' ')} rose from {self.level:.4g} to {self.reached:.4g} and stayed there"


class SpikeWatch:
    """Looks at the loss and the gradient norm of every step, in logarithms: both vary by factors.

    A spike is there once three quarters of the last `patience` steps lie above the level of the `window` steps before
    them, by SPREADS deviations and by the factor in TIMES. So no run has one in its first `window` + patience steps.
    """

    def __init__(self, patience: int, window: int = WINDOW) -> None:
        self.patience, self.window = patience, window
        self.figures: dict[str, list[float]] = {name: [] for name in TIMES}

    def add(self, figures: Mapping[str, float]) -> Spike | None:
        """Take one more step in; the spike that it completes, if any. figures: without those of TIMES nothing is."""
        for name, values in self.figures.items():
            if name in figures:
                values.append(math.log(max(figures[name], LEAST)))
                del values[: -self.window - self.patience]
        return next((spike for name in self.figures if (spike := self._spike(name))), None)

    def _spike(self, name: str) -> Spike | None:
        before, recent = self.figures[name][: -self.patience], self.figures[name][-self.patience :]
        if len(before) < self.window:
            return None
        level = median(before)
        spread = NORMAL_MAD * median(abs(value - level) for value in before)
        threshold = level + max(SPREADS * spread, math.log(TIMES[name]))
        if sum(value > threshold for value in recent) < LASTING * self.patience:
            return None
        return Spike(name, math.exp(level), math.exp(median(recent)))

    def state(self) -> dict[str, Any]:
        """What JSON keeps of it, to the bit."""
        return {name: list(values) for name, values in self.figures.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; from nothing where that is empty."""
        self.figures = {name: list(state.get(name, ())) for name in TIMES}


@dataclass(frozen=True)
class Rollback(Spike):
    """From `step`, where a spike had lasted, to the checkpoint of step `to`; 0 is the beginning of the stage."""

    step: int
    to: int


def read_rollbacks(folder: Path) -> list[Rollback]:
    """The rollbacks of a stage so far, the first one first. folder: that of its checkpoints."""
    path = folder / FILE
    if not path.is_file():
        return []
    with reading(path):
        return [build(Rollback, **values)() for values in read_json(path)]  # of the types that it says


def add_rollback(folder: Path, spike: Spike, step: int, patience: int) -> None:
    """Write down that the run leaves `step` for the newest checkpoint from before the spike, and to which."""
    steps = [before for path in folder.glob("step_*") if (before := step_of(path)) <= step - patience]
    found = Rollback(**asdict(spike), step=step, to=max(steps, default=0))
    values = [asdict(one) for one in (*read_rollbacks(folder), found)]
    write_file(folder / FILE, json.dumps(values, indent=1) + "\n")


def remove_rolled_back(folder: Path, rollbacks: Sequence[Rollback]) -> None:
    """Delete the checkpoints that a rollback has left behind."""
    for path in folder.glob("step_*"):
        state = path / "state.json"
        # Without it a kill came amid the deleting.
        made_after = read_json(state).get("rollbacks", 0) if state.is_file() else 0
        if any(step_of(path) > found.to for found in rollbacks[made_after:]):
            shutil.rmtree(path, ignore_errors=True)


def num_at_same_place(rollbacks: Sequence[Rollback], step: int, reach: int) -> int:
    """How many of the last rollbacks a spike at `step` follows without the run having got `reach` steps past them."""
    return sum(1 for _ in takewhile(lambda found: step <= found.step + reach, reversed(rollbacks)))


def num_to_keep(folder: Path, step: int, patience: int | None, least: int) -> int:
    """How many of the last checkpoints to keep at `step`, so that one of them is from before any spike going on."""
    if patience is None:
        return least
    return max(least, 1 + sum(step_of(path) > step - patience for path in folder.glob("step_*")))
