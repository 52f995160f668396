"""Tiny encoders with random weights, of the real classes, for trials of recipes whose published ones are not at hand.

A field that names a published encoder may name one of these. Its folder is written once, to the cache, laid out as the
published ones are, and read from there by the same code.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from synesthete import hub
from synesthete.io import locked, write_folder

CLAP, PROMPTS = "trial-clap", "trial-stable-diffusion"
CLAP_WIDTH, PROMPT_WIDTH = 24, 16
RATE, SECONDS = 8000, 2  # that the CLAP listens at, and to
NUM_TOKENS = 77
AUDIO: dict[str, Any] = {
    "spec_size": 128,
    "num_mel_bins": 64,
    "window_size": 2,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "initializer_factor": 5.0,  # so that what it says depends on what it hears; as below
}
TEXT: dict[str, Any] = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def find_trial(model: str) -> Path | None:
    """The folder of a trial encoder, written if it is not there; None for any other name."""
    write = WRITERS.get(model)
    if write is None:
        return None
    folder = hub.cache_folder() / "trials" / model
    if folder.is_dir():
        return folder
    # Alone: a second process would replace the folder while the first one reads it.
    with locked(folder.parent, wait=True, deep=False), torch.random.fork_rng(devices=()), torch.device("cpu"):
        if not folder.is_dir():
            torch.manual_seed(0)
            write_folder(folder, write)
    return folder


def write_network(network: Any, folder: Path) -> None:
    """Configuration and weights, by whichever process: transformers' own writes nothing but on rank 0."""
    folder.mkdir(exist_ok=True)
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder)
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_clap(folder: Path) -> None:
    """A CLAP that listens to 2 s at 8 kHz."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    text = TEXT | {"hidden_size": 8, "vocab_size": 20, "max_position_embeddings": 20}
    write_network(ClapModel(ClapConfig(text_config=text, audio_config=AUDIO, projection_dim=CLAP_WIDTH)), folder)
    ClapFeatureExtractor(
        feature_size=AUDIO["num_mel_bins"],
        sampling_rate=RATE,
        hop_length=80,
        max_length_s=SECONDS,
        fft_window_size=512,
        frequency_max=RATE // 2,
        truncation="rand_trunc",
        padding="repeatpad",
    ).save_pretrained(folder)


def write_prompts(folder: Path) -> None:
    """The text side of a Stable Diffusion; its tokenizer knows single characters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    size = write_tokenizer(folder / "tokenizer")
    start, end = size - 2, size - 1
    config = CLIPTextConfig(
        **TEXT,
        hidden_size=PROMPT_WIDTH,
        max_position_embeddings=NUM_TOKENS,
        initializer_factor=5.0,
        vocab_size=size,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        projection_dim=16,
    )
    write_network(CLIPTextModel(config), folder / "text_encoder")


def write_tokenizer(folder: Path) -> int:
    """A CLIP's tokenizer that knows single characters; how many tokens it has, start and end of text the last two."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + string.punctuation
    known = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(known)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=NUM_TOKENS).save_pretrained(folder)
    return len(known)


WRITERS: dict[str, Callable[[Path], None]] = {CLAP: write_clap, PROMPTS: write_prompts}
