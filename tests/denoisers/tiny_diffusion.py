"""A tiny Stable Diffusion of diffusers' and transformers' own classes, in a folder laid out as the published ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.types import Condition

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, NUM_TEXT, NUM_SOUND = 16, 7, 3
NETWORK: dict[str, Any] = {
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
SETTINGS = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "cross_attention_dim": WIDTH}
TOKENS = ["<|startoftext|>", "<|endoftext|>", *"abcdefgh", *(f"{letter}</w>" for letter in "abcdefgh")]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_unet(seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**{**NETWORK, **SETTINGS, **changes}).eval()


def write_stable_diffusion(folder: Path, seed: int = 0, **unet: Any) -> Path:
    """The whole pipeline: unet, vae, text_encoder, tokenizer and scheduler."""
    text = CLIPTextConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=NUM_TEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    (folder / "written").mkdir(parents=True)
    (folder / "written" / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    (folder / "written" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "written" / "vocab.json"), str(folder / "written" / "merges.txt"), model_max_length=NUM_TEXT
    )
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(4, 4),
        norm_num_groups=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=make_unet(seed, **unet),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def make_denoiser(model: Path | str | None = None, *, awake: bool = False, **settings: Any) -> StableDiffusion:
    """awake: what starts at zero (gates, LoRA's second half) is moved away from it."""
    torch.manual_seed(1)
    tiny = {"sample_size": (8, 8), "condition_width": WIDTH, "num_sound_tokens": NUM_SOUND, "lora_rank": 2}
    tiny |= {"network": NETWORK} if model is None else {"model": str(model)}
    made = StableDiffusion(**{"model": None, **tiny, **settings}).eval()
    return wake(made) if awake else made


def wake(made: StableDiffusion) -> StableDiffusion:
    for name, parameters in made.groups().items():
        for parameter in parameters:
            if name != "base" and not parameter.any():
                parameter.data = {"lora": 0.02, "gates": 0.5}[name] * draw(*parameter.shape, seed=9)
    return made


def told(batch: int = 2, seed: int = 1, mask: bool | None = True) -> Condition:
    """Text and sound; mask: all kept, or None."""
    tokens = draw(batch, NUM_TEXT + NUM_SOUND, WIDTH, seed=seed)
    return Condition(tokens=tokens, mask=None if mask is None else torch.ones(tokens.shape[:2], dtype=torch.bool))


def inputs(batch: int = 2, size: tuple[int, int] = (8, 8), channels: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return draw(batch, channels, *size), torch.linspace(10, 900, batch)
