"""What a stage trains: weights, the optimiser's moments and the averages, in memory and in checkpoint."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import set_model_state_dict

from synesthete.training import checkpoint, sharding
from synesthete.training.assembly import load_state
from synesthete.training.ema import EMA
from synesthete.training.optim import make_optimiser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch
    from accelerate import Accelerator

    from synesthete.config import Stage
    from synesthete.objectives import Objective, Parts


class Weights:
    """The weights of an objective with their optimiser and their averages, whole or, where asked for, in pieces.

    parts: what the objective holds. make: makes such parts once more, for weights put together from pieces.
    """

    def __init__(
        self, objective: Objective, parts: Parts, stage: Stage, accelerator: Accelerator, make: Callable[[], Parts]
    ) -> None:
        self.parts, self.stage, self.accelerator, self.make = parts, stage, accelerator, make
        self.sharded = sharding.is_asked()
        if self.sharded:
            sharding.shard(objective, accelerator)
        optimiser = make_optimiser(objective, stage)
        if stage.compile:
            parts.denoiser.compile()
        if self.sharded:
            self.model, self.optimiser = objective, accelerator.prepare(optimiser)
        else:
            self.model, self.optimiser = accelerator.prepare(objective, optimiser)
        self.trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self.ema = self._average()

    def _average(self) -> EMA | None:
        return EMA(self.trained, self.stage.ema_decay) if self.stage.ema_decay else None

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Parts | None]:
        """The parts with the averaged weights where there are some, for as long as the context lasts.

        Every process has to enter; the main one gets the parts, of a sharded run a copy put together from all pieces.
        """
        if self.sharded or not (self.ema and self.accelerator.is_main_process):
            with self.raw(self.ema.by_name() if self.ema else {}) as parts:
                yield parts
            return
        with self.ema.in_place():
            yield self.parts

    @contextlib.contextmanager
    def raw(self, instead: dict[str, torch.Tensor] | None = None) -> Iterator[Parts | None]:
        """The same with the weights as they are trained. instead: of sharded ones, those to take in their place."""
        main = self.accelerator.is_main_process
        if self.sharded:
            state = sharding.whole_state(self.model, instead or {}, keep=main)
            yield self._copy(state) if main else None
        else:
            yield self.parts if main else None

    def _copy(self, state: dict[str, torch.Tensor]) -> Parts:
        parts = self.make()
        load_state(parts, state)
        for module in parts.modules().values():
            module.to(self.accelerator.device).eval()
        return parts

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint; every process has to call it. state: whatever else JSON holds."""
        model_state, optimiser_state = checkpoint.gather(self.model, self.optimiser.optimizer)
        averages = self.ema.gather() if self.ema else None
        if self.ema:
            state = state | {"ema_step": self.ema.num_steps}
        if self.accelerator.is_main_process:
            checkpoint.save_checkpoint(folder, model_state, optimiser_state, averages, state)

    def restore(self, folder: Path) -> dict[str, Any]:
        """Go on from a checkpoint; the state that was written with it.

        Raises:
            InputError: damaged files, or weights of another shape.
        """
        with checkpoint.reading(folder):
            state = json.loads((folder / "state.json").read_text())
            checkpoint.restore(self.model, self.optimiser.optimizer, folder)
            if self.ema:
                self.ema.restore(load_file(folder / "ema.safetensors"), state["ema_step"])
        return state

    def begin_again(self, objective: Objective) -> None:
        """Take the weights of another objective of the same kind, as if no step had been made."""
        set_model_state_dict(self.model, objective.state_dict(), options=checkpoint.FULL)
        self.optimiser.optimizer.state.clear()
        self.ema = self._average()
