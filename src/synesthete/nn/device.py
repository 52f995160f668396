"""Where tensors are computed."""

from __future__ import annotations

import torch

from synesthete.types import InputError


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
