"""A tiny CLIP with random weights and a tiny byte-pair encoding, in folders laid out as the published ones."""

from __future__ import annotations

import json
from string import ascii_lowercase
from typing import TYPE_CHECKING, Literal

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
)

if TYPE_CHECKING:
    from pathlib import Path

MERGES = ["c a", "ca t</w>", "p h", "o f</w>"]
LETTERS = [*ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
VOCABULARY = [*LETTERS, *(merge.replace(" ", "") for merge in MERGES), "<|startoftext|>", "<|endoftext|>"]
TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "projection_dim": 24,
    "bos_token_id": len(VOCABULARY) - 2,
    "eos_token_id": len(VOCABULARY) - 1,
    "pad_token_id": len(VOCABULARY) - 1,
    "initializer_factor": 5.0,  # so that what is said depends on the prompt from the start
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}

Kind = Literal["text", "unprojected", "whole"]


def write_text_tower(folder: Path, kind: Kind = "text", seed: int = 0) -> Path:
    """kind: a text encoder with its projection, one without, or a CLIP of pictures and text."""
    torch.manual_seed(seed)
    text = CLIPTextConfig(**TEXT)
    if kind == "text":
        model: torch.nn.Module = CLIPTextModelWithProjection(text)
    elif kind == "unprojected":
        model = CLIPTextModel(text)
    else:
        vision = CLIPVisionConfig(**VISION)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8))
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]))
    return folder
