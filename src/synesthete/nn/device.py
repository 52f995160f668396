"""Where tensors are computed, in how many bits, and how a CPU gets memory for them."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call

from synesthete.types import InputError

# From malloc.h: names of the options of mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT = 2**31 - 1


def find_device(name: str = "auto") -> torch.device:
    """The device called `name`: cpu, cuda, cuda:1, mps, ...; "auto" is CUDA where there is some, else the CPU.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = ["auto", "cpu"] + ([here.type] if here else [])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device and device.type == "cpu":
        return torch.device("cpu")
    if device and here and device.type == here.type and (device.index or 0) < torch.accelerator.device_count():
        return device
    raise InputError(f"device {name!r}: not on this machine; choose from {', '.join(known)}")


def keep_freed_memory() -> bool:
    """Let glibc keep what tensors give back instead of asking the kernel for zeroed pages in every step.

    A convolutional step of 256 photographs took 0.36 s instead of 0.43 s on two cores. True where it was done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, 64 * 2**20))
    taken = [library.mallopt(option, value) == 1 for option, value in options]
    return all(taken)


Precision = Literal["auto", "no", "bf16"]


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware (CPU: AVX512-BF16 or AMX); elsewhere bf16 only costs digits."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Matrix products in bf16 for as long as the context lasts; "auto": where the device multiplies it in hardware."""
    if precision == "no" or (precision == "auto" and not multiplies_bf16(device)):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class CastOnce:
    """A network under autocast, the weights of its linear layers cast when this is made.

    Autocast itself casts them anew whenever it is entered, that is, in every step: a third of a small network's time.
    Those of frozen layers are left out, as autocast keeps none of them either; so nothing takes more memory than there.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        # What calls a network without being a module has its weights cast as ever.
        self.weights = cast_weights(network) if isinstance(network, nn.Module) else {}

    @property
    def dtype(self) -> torch.dtype:
        """The network's own."""
        return self.network.dtype

    def __call__(self, *arguments: Any) -> Any:
        """What the network returns."""
        return functional_call(self.network, self.weights, arguments) if self.weights else self.network(*arguments)


def cast_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """By name, what autocast makes of the weights of linear layers that are trained; nothing outside of autocast."""
    device = next((weight.device.type for weight in network.parameters()), "cpu")
    if not torch.is_autocast_enabled(device):
        return {}
    return {
        f"{place}.{name}": weight.detach().to(torch.get_autocast_dtype(device))
        for place, layer in network.named_modules()
        if type(layer) is nn.Linear
        for name, weight in layer.named_parameters(recurse=False)
        if weight.requires_grad and weight.dtype == torch.float32
    }
