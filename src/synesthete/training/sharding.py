"""FSDP2: weights, gradients, optimiser state and averages cut into a piece a process (Zhao et al. 2023).

`accelerate launch --use_fsdp` asks for it. accelerate itself shards on accelerators alone and for one `Accelerator` a
program, where a recipe has a stage after another; so the cut is made here, the same on any device, and before the
optimiser is made.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from synesthete.nn.layers import ConditionedBlock
from synesthete.training.run_folder import processes
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.objectives import Objective


def is_asked() -> bool:
    """Whether the launcher was told to shard, and there are processes to share the pieces."""
    return parse_flag_from_env("ACCELERATE_USE_FSDP") and processes().num_processes > 1


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
    """The state of a sharded model in whole tensors on the CPU, some replaced by their averages.

    Every process has to call it; those with keep=False get nothing.
    """
    state = {}
    for name, value in model.state_dict().items():
        tensor = whole(averages.get(name, value))
        if keep:
            state[name] = tensor.cpu()
    return state
