"""What a stage trains: weights, the optimiser's moments and the averages, in memory and in checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import parse_flag_from_env
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict, set_model_state_dict

from synesthete.io import read_json
from synesthete.training import checkpoint, sharding
from synesthete.training.assembly import BASE, base_names, base_of, check_same_digests, load_state
from synesthete.training.optim import make_optimiser

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from synesthete.config import Stage
    from synesthete.objectives import Objective, Parts

POWER = 0.8


class Averages:
    """Exponential averages: after n steps by a decay of 1 - n^-POWER, so over few steps at first, at most `decay`.

    Attributes:
        tensors: the averages, one of each parameter, sharded as it is.
        num_steps: how many steps are in them.

    Source: the warm-up of K. Crowson's averages, as `EMAModel` of diffusers has it, which takes seconds to import.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.tensors = [parameter.detach().clone() for parameter in parameters]
        self.decay, self.num_steps = decay, 0

    @torch.no_grad()
    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Take the weights of one more step in."""
        self.num_steps += 1
        decay = min(1 - self.num_steps**-POWER, self.decay)
        for average, parameter in zip(self.tensors, parameters, strict=True):
            average.sub_((1 - decay) * (average - parameter))


class RunningStatistics:
    """What batch norms keep beside their weights, and no gradient moves.

    After a step it is where the mean of all micro-batches takes it, however many processes share them and whether one
    after the other or at once; left alone, it would be where those of the main process take it in turn.

    Args:
        num_micro_batches: of a step in each process.
    """

    def __init__(self, objective: nn.Module, accelerator: Accelerator, num_micro_batches: int) -> None:
        norms = [one for one in objective.modules() if getattr(one, "running_mean", None) is not None]
        self.tensors = [tensor for norm in norms for tensor in norm.buffers(recurse=False)]
        self.accelerator, self.num = accelerator, num_micro_batches
        if self.num * accelerator.num_processes == 1:
            self.tensors = []
        self.before = [tensor.clone() for tensor in self.tensors]
        self.moved = [torch.zeros_like(tensor, dtype=torch.float32) for tensor in self.tensors]

    @torch.no_grad()
    def take(self) -> None:
        """Note how far a micro-batch has moved them, and move them back."""
        for tensor, before, moved in zip(self.tensors, self.before, self.moved, strict=True):
            moved.add_(tensor - before)
            tensor.copy_(before)

    @torch.no_grad()
    def settle(self) -> None:
        """Move them by the mean of all; every process has to call it."""
        if not self.tensors:
            return
        mean = self.accelerator.reduce(torch.cat([moved.flatten() for moved in self.moved]), "mean") / self.num
        for tensor, part in zip(self.tensors, mean.split([one.numel() for one in self.tensors]), strict=True):
            moved = part.view_as(tensor)
            tensor.add_(moved if tensor.is_floating_point() else moved.round().to(tensor.dtype))  # or a count


def set_values(parameters: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Give parameters other values, which may be on another device."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value.data)


class Weights:
    """The weights of an objective with their optimiser and their averages, whole or, where asked for, in pieces.

    parts: what the objective holds. make: makes such parts once more, for weights put together from pieces. is_adapted:
    whether a published base stays as it is all through the recipe; then checkpoints name it, and leave its weights out.
    """

    def __init__(
        self,
        objective: Objective,
        parts: Parts,
        stage: Stage,
        accelerator: Accelerator,
        make: Callable[[], Parts],
        is_adapted: bool = False,
    ) -> None:
        self.parts, self.stage, self.accelerator, self.make = parts, stage, accelerator, make
        self.left_out = base_names(parts) if is_adapted else frozenset()
        self.sharded = parse_flag_from_env("ACCELERATE_USE_FSDP") and accelerator.num_processes > 1
        if self.sharded:
            _ = self.base  # while it is whole
            sharding.shard(objective, accelerator)
        optimiser = make_optimiser(objective, stage)
        if stage.compile:
            parts.denoiser.compile()
        self.model: Any = objective
        if self.sharded:
            self.optimiser = accelerator.prepare(optimiser)
        else:
            self.model, self.optimiser = accelerator.prepare(objective, optimiser)
        self.trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self.ema = self._average()
        self.pieces = sharding.PieceWriter() if self.sharded and sharding.can_be_written() else None

    @cached_property
    def base(self) -> dict[str, str] | None:
        """What tells the base that checkpoints leave out from another; None where they leave out nothing."""
        return base_of(self.parts) if self.left_out else None

    def _average(self) -> Averages | None:
        """Averages that begin now."""
        return Averages(self.trained.values(), decay) if (decay := self.stage.ema_decay) else None

    @property
    def averages(self) -> dict[str, Tensor]:
        """The averages by name, sharded as the weights are; none where the stage keeps none."""
        return dict(zip(self.trained, self.ema.tensors, strict=True)) if self.ema else {}

    def follow(self) -> None:
        """Take the weights of one more optimiser step into the averages."""
        if self.ema:
            self.ema.follow(self.trained.values())

    def keep_averages(self) -> None:
        """Make the averages the weights, for good."""
        if self.ema:
            set_values(self.trained.values(), self.ema.tensors)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Parts | None]:
        """The parts with the averaged weights where there are some, for as long as the context lasts.

        Every process has to enter; the main one gets the parts, of a sharded run a copy put together from all pieces.
        """
        if self.sharded or not (self.ema and self.accelerator.is_main_process):
            with self.raw(self.averages) as parts:
                yield parts
            return
        before = [parameter.detach().cpu().clone() for parameter in self.trained.values()]
        self.keep_averages()
        try:
            yield self.parts
        finally:
            set_values(self.trained.values(), before)

    @contextlib.contextmanager
    def raw(self, instead: Mapping[str, Tensor] = {}) -> Iterator[Parts | None]:
        """The same with the weights as they are trained. instead: of sharded ones, those to take in their place."""
        main = self.accelerator.is_main_process
        if not self.sharded:
            yield self.parts if main else None
            return
        state = sharding.whole_state(self.model, instead, keep=main)
        if not main:
            yield None
            return
        parts = self.make()
        load_state(parts, state)
        for module in parts.modules().values():
            module.to(self.accelerator.device).eval()
        yield parts

    def save(self, folder: Path, state: dict[str, Any], done: Callable[[], None]) -> None:
        """Write a checkpoint, or where weights are in pieces begin to; every process has to call it.

        state: whatever else JSON holds. done(): in the main process, once the checkpoint is whole.
        """
        if self.base:
            state = state | {BASE: self.base}
        if self.ema:
            state = state | {"ema_step": self.ema.num_steps}
        averages, optimiser = self.ema.tensors if self.ema else [], self.optimiser.optimizer
        if self.pieces:
            self.pieces.save(folder, self.model, optimiser, averages, state, self.left_out, done)
            return
        model_state: dict[str, Any] = get_model_state_dict(self.model, options=checkpoint.FULL)
        optimiser_state: Any = get_optimizer_state_dict(self.model, optimiser, options=checkpoint.FULL)
        model_state = {name: value for name, value in model_state.items() if name not in self.left_out}
        wholes = {f"{i:05d}": sharding.whole(average).cpu().contiguous() for i, average in enumerate(averages)}
        if self.accelerator.is_main_process:
            checkpoint.save_checkpoint(folder, model_state, optimiser_state, wholes if self.ema else None, state)
            done()

    def settle(self) -> None:
        """Wait until the last checkpoint is on the disk; every process has to call it."""
        if self.pieces:
            self.pieces.settle()

    def restore(self, folder: Path) -> dict[str, Any]:
        """Go on from a checkpoint; the state that was written with it."""
        with checkpoint.reading(folder):
            state = read_json(folder / "state.json")
            check_same_digests(self.base, state, folder)
            optimiser, averages = self.optimiser.optimizer, self.ema.tensors if self.ema else []
            if sharding.are_pieces_in(folder):
                sharding.take_up_pieces(self.model, optimiser, averages, folder, self.left_out)
            else:
                checkpoint.restore(self.model, optimiser, folder, self.left_out)
                kept = load_file(folder / "ema.safetensors") if self.ema else {}
                for i, own in enumerate(averages):
                    own.copy_(sharding.piece_of(kept[f"{i:05d}"], own))
            if self.ema:
                self.ema.num_steps = state["ema_step"]
        return state

    def begin_again(self, objective: Objective) -> None:
        """Take the weights of another objective of the same kind, as if no step had been made."""
        set_model_state_dict(self.model, objective.state_dict(), options=checkpoint.FULL)
        self.optimiser.optimizer.state.clear()
        self.ema = self._average()
