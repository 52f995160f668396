"""FSDP2: weights, gradients, optimiser state and averages cut into a piece a process (Zhao et al. 2023).

`accelerate launch --use_fsdp` asks for it. accelerate itself shards on accelerators alone and for one `Accelerator` a
program, where a recipe has a stage after another; so the cut is made here, the same on any device, and before the
optimiser is made.

In a checkpoint every process writes its own pieces, while training goes on: torch.distributed.checkpoint cuts, names
and finds them, in safetensors, and they are read by any number of processes, sharded or not. A folder takes its name
once all pieces are on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from synesthete.io import PARTIAL, cannot_write, read_json
from synesthete.nn.layers import ConditionedBlock
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.objectives import Objective


def shard(objective: Objective, accelerator: Accelerator) -> None:
    """Cut the parameters of an objective, in place; a transformer's blocks are gathered one at a time.

    Of the launcher's settings, `fsdp_reshard_after_forward` and `fsdp_offload_params` are followed. In bf16 a block is
    gathered as bf16, which its products are computed in, and gradients are averaged in float32.

    Raises:
        InputError: fp16, whose loss scale nothing here keeps equal between the pieces.
    """
    if accelerator.mixed_precision == "fp16":
        raise InputError("precision fp16 cannot be sharded; --set stages.NAME.precision=bf16, or train without FSDP")
    # Keys and values are views, which nothing here changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    asked = FullyShardedDataParallelPlugin(fsdp_version=2)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    everywhere = {"mesh": mesh, "offload_policy": asked.cpu_offload}
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
    of_blocks = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in list(objective.modules()):
        if isinstance(module, ConditionedBlock):
            # Keys and values are computed outside the block's own forward, once for all blocks.
            units = [module.cross_attention.to_key_value] if module.cross_attention else []
            for unit in (*units, module):
                fully_shard(unit, reshard_after_forward=asked.reshard_after_forward, mp_policy=of_blocks, **everywhere)
    fully_shard(objective, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False), **everywhere)


@contextlib.contextmanager
def no_sync(accelerator: Accelerator, model: nn.Module) -> Iterator[None]:
    """Gradients stay where they are, of a sharded model or of any other."""
    if not isinstance(model, FSDPModule):
        with accelerator.no_sync(model):
            yield
        return
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """The weights of a sharded model whole, for what is called outside its own forward; every process enters."""
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The tensor of all pieces; every process has to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def piece_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor cut as `like` is, on its device."""
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def whole_state(model: nn.Module, averages: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """A sharded model's state, averages in place, whole on the CPU where `keep`; every process has to call it."""
    state = {}
    for name, value in model.state_dict().items():
        tensor = whole(averages.get(name, value))
        if keep:
            state[name] = tensor.cpu()
    return state


MODEL, OPTIMISER, AVERAGES = "model", "optimiser", "averages"
STEP = "step"  # of a moment, a number; all else of it is as large as its weight
COUNT = "num_pieces"  # in the state: files that there have to be


def can_be_written() -> bool:
    """Whether this torch writes pieces as safetensors; older ones pickle them."""
    return hasattr(dcp, "HuggingFaceStorageWriter")


def are_pieces_in(folder: Path) -> bool:
    """Whether a checkpoint is one of pieces."""
    return not (folder / "model.safetensors").is_file()


class PieceWriter:
    """Writes one checkpoint after another in the background; every process has to call all of it."""

    def __init__(self) -> None:
        self.group = dist.new_group(backend="gloo")  # of its own, beside what training says meanwhile
        self.thread = ThreadPoolExecutor(1)
        self.pending: Future[Any] | None = None

    def save(
        self,
        folder: Path,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        averages: Iterable[Tensor],
        state: dict[str, Any],
        left_out: frozenset[str],
        done: Callable[[], None],
    ) -> None:
        """Begin a checkpoint with what the tensors are now. state: what JSON holds. done(): in the main process."""
        self.settle()
        tensors = {f"{MODEL}/{name}": v for name, v in get_model_state_dict(model).items() if name not in left_out}
        for name, weight in parameters_by_name(model):
            for field, value in optimiser.state.get(weight, {}).items():
                tensors[f"{OPTIMISER}/{name}/{field}"] = value.reshape(1) if field == STEP else value
        tensors |= {f"{AVERAGES}/{i:05d}": value for i, value in enumerate(averages)}
        partial = folder.with_name(f".{folder.name}{PARTIAL}")  # the same for all; only one run is in its folder
        writer = dcp.HuggingFaceStorageWriter(str(partial), save_distributed=True)
        saved: Any = dcp.async_save(tensors, storage_writer=writer, process_group=self.group)

        def finish() -> None:
            saved.result()  # of all processes
            if dist.get_rank():
                return
            values = state | {COUNT: len([*partial.glob("*.safetensors")])}
            (partial / "state.json").write_text(json.dumps(values, indent=1))
            for path in partial.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            shutil.rmtree(folder, ignore_errors=True)  # there, it would have been taken, had it been whole
            partial.rename(folder)
            done()

        self.folder, self.pending = folder, self.thread.submit(finish)

    def settle(self) -> None:
        """Wait until what was begun is on the disk."""
        pending, self.pending = self.pending, None
        if pending is None:
            return
        try:
            pending.result()
        except (OSError, dcp.CheckpointException) as error:
            raise cannot_write(self.folder, cause_of(error)) from None


def take_up_pieces(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averages: Iterable[Tensor],
    folder: Path,
    left_out: frozenset[str],
) -> None:
    """Put back what a checkpoint of pieces holds, each process the part that it has; the averages in place."""
    state: dict[str, Any] = get_model_state_dict(model)
    weights = dict(parameters_by_name(model))
    wanted = {f"{MODEL}/{name}": value for name, value in state.items() if name not in left_out}
    wanted |= {f"{AVERAGES}/{i:05d}": value for i, value in enumerate(averages)}
    moments: dict[str, dict[str, Tensor]] = {}
    for key in sizes_in(folder):
        part, _, name = key.partition("/")
        if part == OPTIMISER:
            name, _, field = name.rpartition("/")
            weight = weights[name]
            value = torch.zeros(1, device=weight.device) if field == STEP else torch.zeros_like(weight)
            wanted[key] = moments.setdefault(name, {})[field] = value
    fill_from(folder, wanted)
    set_model_state_dict(model, state)
    optimiser.state.clear()
    for name, own in moments.items():
        optimiser.state[weights[name]] = {k: v.reshape(()) if k == STEP else v for k, v in own.items()}


def read_model(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint of pieces, whole."""
    found = {
        key: torch.empty(kept.size, dtype=kept.properties.dtype)
        for key, kept in sizes_in(folder).items()
        if key.startswith(f"{MODEL}/")
    }
    fill_from(folder, found)
    return {key.removeprefix(f"{MODEL}/"): value for key, value in found.items()}


def sizes_in(folder: Path) -> dict[str, Any]:
    """What torch tells of each tensor in the pieces, none of which may be missing."""
    found, wanted = len([*folder.glob("*.safetensors")]), read_json(folder / "state.json")[COUNT]
    if found != wanted:
        raise ValueError(f"{found} of {wanted} pieces")
    return dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata


def fill_from(folder: Path, wanted: dict[str, Tensor]) -> None:
    """Fill tensors, sharded or whole, from pieces cut in any way."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # each reads what it needs
            dcp.load(wanted, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)
    except dcp.CheckpointException as error:
        raise ValueError(str(cause_of(error))) from None


def parameters_by_name(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Parameters by the names that checkpoints have for them."""
    return ((name.removeprefix("module."), weight) for name, weight in model.named_parameters())


def cause_of(error: BaseException) -> Exception:
    """What a process met, where torch tells of all of them."""
    failures = getattr(error, "failures", None)
    cause = next(iter(failures.values()))[0] if failures else error
    return cause if isinstance(cause, Exception) else OSError(str(cause))
