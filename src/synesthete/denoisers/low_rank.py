"""LoRA on the projections of Stable Diffusion's attention, by peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

if TYPE_CHECKING:
    from torch import Tensor, nn

ADAPTER = "sound"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def add_lora(unet: nn.Module, rank: int, alpha: float) -> None:
    """Low-rank changes beside every projection of every attention layer, which start as none (Hu et al. 2021)."""
    inject_adapter_in_model(LoraConfig(**lora_settings(rank, alpha)), unet, adapter_name=ADAPTER)


def lora_places(unet: nn.Module, rank: int) -> dict[str, Tensor]:
    """What `add_lora` would add, by name without the adapter's own: shapes, no values; nothing is added here."""
    found: dict[str, Tensor] = {}
    for name, layer in unet.named_modules():
        if name.endswith(tuple(f".{target}" for target in TARGETS)):
            projection: Any = layer
            found[f"{name}.lora_A.weight"] = torch.empty(rank, projection.in_features, device="meta")
            found[f"{name}.lora_B.weight"] = torch.empty(projection.out_features, rank, device="meta")
    return found


def lora_settings(rank: int, alpha: float) -> dict[str, Any]:
    """What peft needs to be told, of which a file of such weights keeps a copy."""
    return {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS}


def set_lora_scale(unet: nn.Module, adapter_scale: float) -> None:
    """Multiply the changes by `adapter_scale`, beside their own scale of alpha / rank."""
    for module in unet.modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.scaling:
            module.set_scale(ADAPTER, adapter_scale)
