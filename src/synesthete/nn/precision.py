"""In how many bits matrix products are computed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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
