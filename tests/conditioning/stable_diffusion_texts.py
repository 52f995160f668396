"""The text side of a Stable Diffusion with random weights, in a folder laid out as a published pipeline's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from text_towers import MERGES, TEXT, VOCABULARY
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

if TYPE_CHECKING:
    from pathlib import Path

NUM_TOKENS = 77


def write_texts(folder: Path, seed: int = 0) -> Path:
    """`text_encoder` and `tokenizer`, which pads with its end of text, as those of Stable Diffusion 1 do."""
    torch.manual_seed(seed)
    CLIPTextModel(CLIPTextConfig(**TEXT | {"max_position_embeddings": NUM_TOKENS})).save_pretrained(
        folder / "text_encoder"
    )
    vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
    pairs = [tuple(merge.split()) for merge in MERGES]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=NUM_TOKENS)
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return folder
