"""A tiny CLAP with random weights, in folders laid out as the published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from synesthete.conditioning.trial_towers import AUDIO, RATE, SECONDS
from synesthete.conditioning.trial_towers import CLAP_WIDTH as WIDTH

if TYPE_CHECKING:
    from pathlib import Path

TEXT = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 20,
}


def write_clap(folder: Path, *, fused: bool = False, seed: int = 0) -> Path:
    """One that reads 2 s at 8 kHz; fused: made for longer sounds, of which it is told four views."""
    torch.manual_seed(seed)
    audio = AUDIO | {"enable_fusion": fused, "aff_block_r": 2}
    model = ClapModel(ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=WIDTH))
    for module in model.modules():  # as after training: what it hears depends on all of its layers
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=RATE,
        hop_length=80,
        max_length_s=SECONDS,
        fft_window_size=512,
        frequency_max=RATE // 2,
        truncation="fusion" if fused else "rand_trunc",
        padding="repeatpad",
    ).save_pretrained(folder)
    return folder
