"""What one optimiser step takes on this machine: its memory from shapes alone, its time from smaller steps."""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import multiprocessing
import os
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synesthete import seeding
from synesthete.config import Recipe, Stage
from synesthete.data.samples import Samples, Steps
from synesthete.nn.part import keep_freed_memory
from synesthete.objectives import Parts
from synesthete.training.run_folder import processes
from synesthete.training.trainer import StageTrainer
from synesthete.types import InputError, Prepared, first_line

Dummies = Callable[[Recipe, Stage, int], Samples]  # as `Task.dummy_batch`

# A step that works in fewer bytes than this is dry_run_batch as it is.
SMALL = 2 * 10**9
# Seconds from which a step is its own warm-up, and up to which three are run.
LONG, SHORT = 8.0, 1.0
NOWHERE = Path("dry-run")  # never written to: a dry run saves nothing


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment of an optimiser step, by what holds them.

    weights: parameters and buffers. optimiser: AdamW's two moments. ema: the EMA. working: gradients, what the
    forward pass keeps for the backward pass, and what is being computed. overhead: what libraries and the allocator
    hold beside, found by running a smaller step.
    """

    weights: int
    optimiser: int
    ema: int
    working: int
    overhead: int = 0

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.optimiser + self.ema + self.working + self.overhead


@dataclass(frozen=True)
class Cost:
    """One optimiser step of a stage, in one process of this machine; data sets are not counted.

    seconds: without those for which others had the processor; None where the step does not fit into memory.
    dry_run_batch: the size of the micro-batch that was run to find it out.
    """

    stage: str
    batch_size: int
    micro_batch: int
    memory: Memory
    seconds: float | None = None
    dry_run_batch: int | None = None


class DryRun:
    """Optimiser steps of a stage with fresh weights, grey pictures and noise for sound.

    Args:
        samples: grey pictures as the stage sees them, from `Task.dummy_batch`; at least as many as a micro-batch takes.
        trainer: of the stage, one that writes; None makes one that does not.
    """

    def __init__(self, recipe: Recipe, stage: Stage, samples: Samples, trainer: StageTrainer | None = None) -> None:
        keep_freed_memory()
        self.samples = samples
        if trainer is None:
            torch.manual_seed(seeding.derive(recipe.seed, "weights"))
            parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
            prepared = Prepared(samples, None, {}, ())
            trainer = StageTrainer(recipe, replace(stage), prepared, NOWHERE, NOWHERE, lambda: parts)
        self.trainer, self.stage = trainer, trainer.stage
        self.trainer.model.train()

    def step(self, batch_size: int, accumulation: int = 1) -> None:
        """One optimiser step: the batches made, the losses, their gradients, the update and the averages."""
        self.trainer.accumulation = accumulation
        steps = Steps(self.samples, batch_size * accumulation, 0, accumulation=accumulation)
        self.trainer.optimise(((item, steps[item]) for item in itertools.count()), steps)


def micro_batch(stage: Stage) -> int:
    """Samples that one process pushes through the network at once."""
    return stage.batch_size // stage.gradient_accumulation_steps


def predict(recipe: Recipe, stage: Stage, dummies: Dummies, most: int | None = None) -> Cost:
    """Memory and time of an optimiser step of the stage.

    dummies: as `Task.dummy_batch`, makes samples up; another process has to be able to import it. most: bytes that it
    may take, all of the machine's where None; a step that takes more is not run.

    Raises:
        InputError: parts whose step cannot be followed by shapes alone.
    """
    size = micro_batch(stage)
    memory = predict_memory(recipe, stage, size, dummies)
    if memory.total > (physical_memory() if most is None else most):
        return Cost(stage.name, stage.batch_size, size, memory)
    largest = size if memory.working <= SMALL or size <= 4 else max(2, size * SMALL // memory.working)
    seconds, resident = in_own_process(time_step, recipe.to_dict(), stage.name, largest, dummies)
    run = memory if largest == size else predict_memory(recipe, stage, largest, dummies)
    memory = replace(memory, overhead=max(0, resident - run.total))
    return Cost(stage.name, stage.batch_size, size, memory, seconds, largest)


def in_own_process(run: Callable[..., Any], *arguments: Any) -> Any:
    """What `run` returns in a process of its own: what this one has freed would be used again, and not be seen."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        return other.submit(run, *arguments).result()


def predict_memory(recipe: Recipe, stage: Stage, size: int, dummies: Dummies) -> Memory:
    """The memory of a step of `size` samples: every tensor is made without values and counted while it lives."""
    samples = dummies(recipe, stage, 1)
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True), ledger, staying():
        try:
            dry_run = DryRun(recipe, stage, samples)
            for _ in range(2):  # the optimiser's state is made in the first
                # Of several micro-batches the second finds the gradients of the first.
                dry_run.step(size, min(stage.gradient_accumulation_steps, 2))
        except (RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"recipe {recipe.name}, stage {stage.name}: its step cannot be followed by shapes ({first_line(error)})"
            ) from None
    run = dry_run.trainer
    states = (value for state in run.optimiser.state.values() for value in state.values())
    weights, optimiser = num_bytes(run.model.state_dict().values()), num_bytes(states)
    ema = num_bytes(run.weights.averages.values())
    return Memory(weights, optimiser, ema, ledger.peak - weights - optimiser - ema)


def time_step(values: dict[str, Any], stage_name: str, largest: int, dummies: Dummies) -> tuple[float, int]:
    """Seconds of the stage's step, and bytes in use at the fullest moment, by steps of micro-batches of `largest`.

    A step is u + a (c + b s): an update u, and a times a pass whose cost is c for the weights and s for each of b
    samples; where `largest` is not the stage's own size, a step of one sample tells s. values: the recipe as `to_dict`
    gives it.
    """
    recipe = Recipe.from_dict(values)
    stage = next(stage for stage in recipe.stages if stage.name == stage_name)
    size, accumulation = micro_batch(stage), stage.gradient_accumulation_steps
    samples = dummies(recipe, stage, largest)
    gauge = Gauge()
    dry_run = DryRun(recipe, stage, samples)
    # A first step is slower than any other, which accumulation would multiply.
    seconds = clock(lambda: dry_run.step(largest), LONG if accumulation == 1 else math.inf)
    a_pass = time_once(lambda: dry_run.step(largest, 2)) - seconds if accumulation > 1 else 0.0
    resident = gauge.read()
    single = clock(lambda: dry_run.step(1)) if largest < size else seconds
    a_sample = (seconds - single) / (largest - 1) if largest < size else 0.0
    return seconds + (accumulation - 1) * a_pass + accumulation * (size - largest) * a_sample, resident


class Gauge:
    """The most memory that came into use since it was made: of the accelerator, or of this process (Linux alone)."""

    def __init__(self) -> None:
        gc.collect()
        self.is_cuda = processes().device.type == "cuda"
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
        self.before = torch.cuda.memory_allocated() if self.is_cuda else in_memory("VmRSS")

    def read(self) -> int:
        """In bytes; 0 where it cannot be told."""
        most = torch.cuda.max_memory_allocated() if self.is_cuda else in_memory("VmHWM")
        return max(0, most - self.before)  # the kernel counts in steps: with nothing new it may tell a little less


def in_memory(field: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def clock(run: Callable[[], Any], long: float = LONG) -> float:
    """The time of a run in seconds, after a first one, whose memory is new; of the first where it takes `long`."""
    first = time_once(run)
    if first > long:
        return first
    return statistics.median(time_once(run) for _ in range(3 if first < SHORT else 1))


def time_once(run: Callable[[], Any]) -> float:
    """The time of one run in seconds, until the accelerator is done where there is one.

    Of a run on the processor as if nothing else ran on it (Linux alone): a prediction and what it is held against are
    seldom made among the same neighbours.
    """
    on_cuda = processes().device.type == "cuda"
    wait = torch.cuda.synchronize if on_cuda else lambda: None
    wait()
    started, waited = time.perf_counter(), seconds_waited()
    run()
    wait()
    return time.perf_counter() - started - (0.0 if on_cuda else seconds_waited() - waited)


def seconds_waited() -> float:
    """For how long this thread has been ready while others had the processor; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def physical_memory() -> int:
    """Of the device that trains, in bytes."""
    device = processes().device
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory() -> int:
    """What of it nobody uses now, in bytes; all of it where the system does not say."""
    device = processes().device
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return physical_memory()


def num_bytes(tensors: Iterable[Any]) -> int:
    """Of all that are tensors."""
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """Modules are made where they stay: torch 2.13 cannot move parameters without values, even to where they are."""
    move = torch.nn.Module.to
    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module.to = move  # type: ignore[method-assign]


# torch's own MemTracker, which is private, counts the same storages, but the first `.item()` of a tensor without values
# stops it, and a step asks for several; it also hooks every module and optimiser, for figures that nobody reads here.
class Ledger(TorchDispatchMode):
    """Counts the bytes of every tensor made under it, for as long as its storage lives. peak: the most at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].dtype == torch.bool  # there is no value to read: True, or 0
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                self._enter(value)
        return made

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
