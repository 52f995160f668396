"""A sound, and perhaps a prompt, in; a picture of what sounds out: adapters for Stable Diffusion in three stages."""

from __future__ import annotations

from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.conditioning import trial_towers
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.clap import Clap
from synesthete.conditioning.prompts import ClipPrompts
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.videos import EIGHT, VggSound
from synesthete.denoisers.stable_diffusion import BASE, StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.recipes.audio_to_image_small import diffusers_unet, on_tones, stage
from synesthete.recipes.images import SMALL_AUTOENCODER, STABLE_DIFFUSION
from synesthete.recipes.parts import shrink

# None names what sounds: a model that could read that would not listen.
CAPTIONS = ("a photograph", "a {light} photograph", "a {warmth} photograph, {light}")


def audio_to_image() -> Recipe:
    """A sound of 10 s, and perhaps a prompt, becomes a picture, 512x512: Stable Diffusion 1.5 with CLAP; for a GPU."""
    return Recipe(
        name="audio-to-image",
        task="audio-to-image",
        data=build(
            AudioImagePairs,
            sources=(build(VggSound),),
            class_names=tuple(EIGHT),
            captions=CAPTIONS,
            seconds=10.0,
            balanced_batches=True,
        ),
        codec=build(AutoencoderCodec, model=BASE, size=512, network=STABLE_DIFFUSION, scaling_factor=0.18215),
        conditioner=build(AudioTextConditioner, sound=build(Clap), text=build(ClipPrompts, model=BASE)),
        denoiser=build(StableDiffusion, model=BASE),
        process=build(Process, schedule="scaled_linear", prediction_type="epsilon"),
        stages=[
            adapter_stage("tokens", ("conditioner.sound",), num_steps=3000, learning_rate=1e-4),
            adapter_stage("lora", ("conditioner.sound", "denoiser.lora"), num_steps=7000, learning_rate=5e-5),
            # The original moved a single number, at 0.1; here whole attentions learn beside their gates.
            adapter_stage("gates", ("denoiser.gates",), num_steps=2000, learning_rate=5e-4),
        ],
        sampling=Sampling(
            sampler="dpmsolver++",
            num_inference_steps=25,
            guidance_scale=7.5,
            audio_guidance_scale=3.0,
            precision="auto",
        ),
        weights="float16",
    )


def adapter_stage(name: str, train: tuple[str, ...], num_steps: int, learning_rate: float) -> Stage:
    """One of the three stages, with what they share."""
    return stage(
        name,
        train,
        num_steps,
        learning_rate,
        batch_size=8,
        gradient_accumulation_steps=2,
        min_learning_rate=learning_rate / 10,
        num_warmup_steps=100,
        betas=(0.9, 0.999),
        gradient_clip=0.5,
        ema_decay=0.999,
        gradient_checkpointing=True,
        checkpoint_every=500,
        preview_every=1000,
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes with tiny random weights, on swatches of colour and tones; it draws noise."""
    on_tones(recipe)
    return shrink(
        recipe,
        batch_size=8,
        data={"seconds": float(trial_towers.SECONDS), "limit": 40},
        codec={"model": None, "size": 32, "network": SMALL_AUTOENCODER, "scaling_factor": None},
        conditioner={
            "sound": {"model": trial_towers.CLAP},
            "text": {"model": trial_towers.PROMPTS},
            "width": trial_towers.PROMPT_WIDTH,
            "hidden": 16,
        },
        denoiser={
            "model": None,
            "network": diffusers_unet((8, 16), num_heads=2, num_groups=4),
            "sample_size": (16, 16),
            "condition_width": trial_towers.PROMPT_WIDTH,
            "gated_width": 16,
            "lora_rank": 2,
        },
        sampling={"num_inference_steps": 4},
    )
