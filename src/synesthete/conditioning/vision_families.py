"""How vision encoders of each build are asked: what they take, and where their tokens and pooled vector stand."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.conditioning.frozen_encoder import FIELD
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class Family:
    """How encoders of one build are asked.

    width: of a token, by the encoder's configuration. cell: side of the square of pixels that a token stands for.
    read: the network and normalised pictures (B, C, H, W) -> (B, 1 + L, width), the pooled vector before the tokens.
    """

    width: Callable[[Any], int]
    cell: Callable[[Any], int]
    read: Callable[[Any, Tensor], Tensor]


def read_transformer(network: Any, x: Tensor) -> Tensor:
    """A ViT: its own pooled vector, and the tokens of the patches, which come last, behind any class or register."""
    config = network.config
    asked = {}
    if x.shape[-1] != config.image_size and "interpolate_pos_encoding" in inspect.signature(network.forward).parameters:
        asked["interpolate_pos_encoding"] = True
    seen = network(pixel_values=x, **asked)
    num_tokens = (x.shape[-2] // config.patch_size) * (x.shape[-1] // config.patch_size)
    tokens = seen.last_hidden_state[:, -num_tokens:]  # (B, L, width)
    pooled = tokens.mean(dim=1) if seen.pooler_output is None else seen.pooler_output
    return torch.cat([pooled[:, None], tokens], dim=1)


def read_qwen(network: Any, x: Tensor) -> Tensor:
    """Qwen3-VL's tower: one long row of patches, merged in squares into what its language model would read."""
    patches, grids = qwen_patches(x, network.config)
    tokens = network(patches, grid_thw=grids).pooler_output.unflatten(0, (len(x), -1))  # (B, L, width), by rows
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


def qwen_patches(x: Tensor, config: Any) -> tuple[Tensor, Tensor]:
    """Pictures (B, C, H, W) -> patches (B * patches, C * frames * P * P) and their grids (B, 3: frames, rows, columns).

    The patches of a square that will be merged follow each other; a still picture is repeated as its frames.
    """
    patch, merge = config.patch_size, config.spatial_merge_size
    rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
    x = x.unflatten(3, (columns // merge, merge, patch)).unflatten(2, (rows // merge, merge, patch))
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, rows / merge, columns / merge, merge, merge, C, P, P)
    x = x.unsqueeze(6).expand(*[-1] * 6, config.temporal_patch_size, -1, -1)
    return x.flatten(0, 4).flatten(1), torch.tensor([[1, rows, columns]] * len(x), device=x.device)


TRANSFORMER = Family(lambda config: config.hidden_size, lambda config: config.patch_size, read_transformer)
QWEN = Family(
    lambda config: config.out_hidden_size, lambda config: config.patch_size * config.spatial_merge_size, read_qwen
)
FAMILIES = {"qwen3_vl_vision": QWEN, "qwen3_vl_moe_vision": QWEN}


def family_of(model: str, config: Any) -> Family:
    """How an encoder is asked, by the `model_type` of its configuration's class; any plain ViT without an entry.

    Raises:
        InputError: an encoder of another build.
    """
    kind = type(config).model_type  # published towers write that of the model they are part of
    if kind in FAMILIES:
        return FAMILIES[kind]
    sizes = (getattr(config, name, None) for name in ("hidden_size", "patch_size", "image_size"))
    if all(isinstance(size, int) for size in sizes):
        return TRANSFORMER
    raise InputError(
        f"{model}: a {kind} is no vision transformer that can be read here; "
        f"give CLIP, SigLIP, DINOv2 or Qwen3-VL with --set {FIELD}=ID"
    )
