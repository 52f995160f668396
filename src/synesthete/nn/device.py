"""Where tensors are computed, in how many bits, and how a CPU gets memory for them."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from contextlib import AbstractContextManager
from typing import Literal

import torch

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
