"""A model that hears, at the smallest size that has all of the real parts: five stages in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from denoisers.tiny_diffusion import NUM_TEXT, WIDTH
from paired_files import CAPTIONS, LENGTH, RATE, write_classes
from synesthete import tasks
from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.captions import spell
from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.objectives import Alignment, Denoising

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.types import Prepared

NAMED = "a {class}"
NETWORK = {
    "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
BASE, ALIGN, TOKENS, LORA, GATES = STAGES = ("base", "align", "tokens", "lora", "gates")
TRAINED = {
    BASE: ("denoiser.base", "conditioner.text"),
    ALIGN: ("conditioner.encoder",),
    TOKENS: ("conditioner.sound",),
    LORA: ("conditioner.sound", "denoiser.lora"),
    GATES: ("denoiser.gates",),
}


def stage(name: str) -> Stage:
    objective = build(Denoising)
    if name == BASE:
        objective = build(Denoising, sound_dropout=1.0)
    if name == ALIGN:
        objective = build(Alignment, hidden=16)
    often = {"log_every": 1, "checkpoint_every": 2, "preview_every": 4}
    made = Stage(name, objective, num_steps=4, batch_size=4, train=TRAINED[name], precision="no", **often)
    if name not in (BASE, ALIGN):
        made.captions = CAPTIONS
    return made


def hearing_recipe(folder: Path, *assignments: str, stages: tuple[str, ...] = STAGES) -> Recipe:
    """Pictures 8x8 of cats and dogs, sounds of a second at 4 kHz; `folder` holds both once they are prepared."""
    templates = (NAMED, *CAPTIONS)
    ear = build(SoundEncoder, sample_rate=RATE, num_samples=LENGTH, n_fft=128, n_mels=16, channels=(4, 4), width=8)
    recipe = Recipe(
        name="tiny-hearing",
        task="audio-to-image",
        data=build(AudioImagePairs, captions=templates, class_names=("cat", "dog"), folder=str(folder)),
        codec=build(PixelCodec, size=8),
        conditioner=build(
            AudioTextConditioner,
            sound=ear,
            text=build(TextTransformer, captions=spell(templates, ("cat", "dog")), width=8),
            width=8,
            num_sound_tokens=2,
            hidden=8,
        ),
        denoiser=build(
            StableDiffusion,
            model=None,
            network=NETWORK,
            sample_size=(8, 8),
            in_channels=3,
            condition_width=8,
            num_sound_tokens=2,
            gated_width=8,
            lora_rank=2,
        ),
        process=build(Process),
        stages=[stage(name) for name in stages],
        sampling=Sampling(num_inference_steps=2),
    )
    for assignment in assignments:
        recipe.set(assignment)
    return recipe


def published_recipe(place: Path, base: Path, clap: Path) -> Recipe:
    """The stages of the full size, on a Stable Diffusion and a CLAP in folders."""
    recipe = hearing_recipe(place, stages=STAGES[2:4])
    recipe.data.captions = ("abc",)
    recipe.codec = build(AutoencoderCodec, model=str(base), size=16)
    recipe.conditioner.sound = build(Clap, model=str(clap), sample_rate=RATE)
    recipe.conditioner.text = build(ClipPrompts, model=str(base), num_tokens=NUM_TEXT)
    recipe.conditioner.width = recipe.denoiser.condition_width = WIDTH
    recipe.denoiser.model, recipe.denoiser.in_channels = str(base), 4
    recipe.denoiser.network = None
    for one in recipe.stages:
        one.num_steps, one.checkpoint_every, one.captions = 2, 1, None
    return recipe


def hearing_data(folder: Path) -> Prepared:
    write_classes(folder)
    return tasks.prepare(hearing_recipe(folder), folder / "prepared")
