"""Tiny vision encoders with random weights, in folders laid out as the published ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.5,  # so that what is seen depends on the picture from the start
    "initializer_factor": 5.0,
}
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 8,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 24,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
    "initializer_range": 0.5,
}
QWEN_TEXT = {
    "vocab_size": 99,
    "hidden_size": 24,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 12,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]},
}

NORMALISATION = {
    "do_normalize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}
CROP = {"do_resize": True, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, **NORMALISATION}
# The oldest of these files know neither the processor's class nor rescaling, and write sizes as numbers.
OLD_CLIP = {
    **{k: v for k, v in CROP.items() if "rescale" not in k},
    "feature_extractor_type": "CLIPFeatureExtractor",
    "size": 32,
    "crop_size": 32,
}
NEW_CLIP = {**CROP, "image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 32}}
SQUARE = {
    **NORMALISATION,
    "do_resize": True,
    "image_processor_type": "SiglipImageProcessor",
    "size": {"height": 32, "width": 32},
}
DINO = {**CROP, "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}}
ANY = {
    **NORMALISATION,
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"shortest_edge": 1024, "longest_edge": 4096},
    "patch_size": 8,
    "merge_size": 2,
    "temporal_patch_size": 2,
}


def siglip() -> SiglipModel:
    return SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**VIT, "intermediate_size": 32}))


def clip() -> CLIPModel:
    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**VIT, "intermediate_size": 32}, projection_dim=8))


def qwen() -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=QWEN_TEXT, vision_config=QWEN_VISION, image_token_id=1, video_token_id=2)
    )


# What stands in the folder -> how it is made, its preprocessor_config.json, and the size to ask for.
TOWERS: dict[str, tuple[Callable[[], torch.nn.Module], dict, int | None]] = {
    "clip": (clip, OLD_CLIP, None),
    "clip-vision": (lambda: CLIPVisionModel(CLIPVisionConfig(**VIT, intermediate_size=32)), NEW_CLIP, None),
    "siglip": (siglip, SQUARE, None),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(**VIT | {"image_size": 48})), DINO, None),
    "dinov2-registers": (lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**VIT)), DINO, None),
    "qwen3-vl": (qwen, ANY, 64),
    "qwen3-vl-vision": (lambda: Qwen3VLVisionModel(Qwen3VLVisionConfig(**QWEN_VISION)), ANY, 64),
}


def write_tower(name: str, folder: Path, seed: int = 0) -> Path:
    make, preprocessing, _ = TOWERS[name]
    torch.manual_seed(seed)
    make().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    settings = json.loads((folder / "config.json").read_text())
    if settings["model_type"] == "qwen3_vl":
        settings["vision_config"]["model_type"] = "qwen3_vl"  # as published
        (folder / "config.json").write_text(json.dumps(settings))
    return folder
