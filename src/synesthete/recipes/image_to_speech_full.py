"""A photograph in, a spoken phrase about what it shows out: the full-size systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PicturePatches
from synesthete.config import Recipe, Stage, build
from synesthete.data.augmentation import FlipCrop
from synesthete.data.image_speech_pairs import ImageSpeechPairs
from synesthete.data.published_pictures import ImageNet
from synesthete.data.speech.phrases import PHRASES, TABLE, Phrase
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.io import tab_separated
from synesthete.objectives import Alignment
from synesthete.recipes.parts import denoise, shrink, swatches, ten_steps

# 280 frames, 2.99 s: 35 patches of eight.
NUM_SAMPLES = 280 * 256 - 1
WIDTH = 768


def image_to_speech() -> Recipe:
    """A photograph of ten ImageNet classes says its phrase, 3 s; 160M parameters over 875 small patches, as i2m has."""
    return Recipe(
        name="image-to-speech",
        task="image-to-speech",
        data=build(
            ImageSpeechPairs,
            sources=(build(ImageNet),),
            class_names=tuple(phrase.name for phrase in PHRASES),
            words=TABLE,
            num_samples=NUM_SAMPLES,
            takes=48,
            pitches=(45, 60),  # four semitones below and above can be reached by every voice
            speeds=(0.75, 1.35),
            semitones=(-4.0, 4.0),
            augmentation=build(FlipCrop, padding=0, min_scale=0.5),
        ),
        codec=build(MelCodec, num_samples=NUM_SAMPLES),
        conditioner=build(PicturePatches, size=512, patch_size=16, width=WIDTH),
        denoiser=build(
            DiT,
            sample_size=(100, 280),
            patch_size=(4, 8),
            width=WIDTH,
            depth=12,
            num_heads=12,
            condition_width=WIDTH,
            pooled_width=WIDTH,
            num_modulation_networks=8,
        ),
        process=build(
            Process, schedule="flow", prediction_type="flow", timestep_sampling="logit_normal", timestep_mean=1.0
        ),
        stages=[
            Stage(
                "align",
                build(Alignment, width=WIDTH),
                num_steps=1000,
                batch_size=64,
                learning_rate=1e-3,
                train=("conditioner",),
            ),
            denoise(
                num_steps=100_000,
                batch_size=64,
                gradient_accumulation_steps=16,
                learning_rate=2e-4,
                min_learning_rate=1e-6,
                num_warmup_steps=1000,
                ema_decay=0.9995,
                checkpoint_every=1000,
                preview_every=5000,
            ),
        ],
        sampling=ten_steps(guidance_scale=3.0, sampler="flow-euler", precision="auto"),
        weights="bfloat16",
    )


def image_to_speech_large() -> Recipe:
    """The same, wider and deeper: 313M parameters, 1024 wide, 16 layers."""
    recipe = image_to_speech()
    recipe.name = "image-to-speech-large"
    widen(recipe, 1024)
    recipe.denoiser.depth, recipe.denoiser.num_heads, recipe.denoiser.num_modulation_networks = 16, 16, 4
    recipe.stages[1].learning_rate = 1e-4
    recipe.stages[1].gradient_accumulation_steps = 32
    return recipe


def image_to_speech_imagenet_100() -> Recipe:
    """The same for a hundred classes of ImageNet, a phrase each."""
    recipe, phrases = image_to_speech(), hundred_phrases()
    recipe.name = "image-to-speech-imagenet-100"
    speak(recipe, phrases)
    names = {phrase.wnid: phrase.name for phrase in phrases}
    recipe.data.sources = (build(ImageNet, classes=tuple(names), names=names),)
    recipe.data.takes = 12
    recipe.stages[1].num_steps = 300_000
    return recipe


def hundred_phrases() -> tuple[Phrase, ...]:
    """A hundred classes of ImageNet by id and the first of their names, and what is said for each."""
    return (*PHRASES, *(Phrase(*row) for row in tab_separated(Path(__file__).with_name("hundred_phrases.tsv"))))


def speak(recipe: Recipe, phrases: Sequence[Phrase]) -> None:
    """Let a recipe be about these classes, with these phrases."""
    recipe.data.words = {phrase.name: phrase.text for phrase in phrases}
    recipe.data.class_names = tuple(recipe.data.words)


def widen(recipe: Recipe, width: int) -> None:
    """Give conditioner, denoiser and alignment one width."""
    recipe.conditioner.width = recipe.denoiser.width = width
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = width
    recipe.stages[0].objective.width = width


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes, or twelve of a hundred, in seconds, on swatches of colour; it speaks noise."""
    if recipe.name == "image-to-speech-imagenet-100":
        speak(recipe, hundred_phrases()[:12])
    recipe.data.sources = (swatches(recipe, 4, 2),)
    widen(recipe, 32)
    recipe.stages[0].objective.hidden = 16
    for stage in recipe.stages:
        stage.gradient_accumulation_steps = 2
    networks = min(recipe.denoiser.num_modulation_networks, 2)
    return shrink(
        recipe,
        num_steps=4,
        batch_size=8,
        data={"takes": 1, "limit": 128},
        codec={"num_iterations": 4},
        conditioner={"size": 64, "num_features": 8},
        denoiser={"depth": 2, "num_heads": 2, "num_modulation_networks": networks},
        sampling={"num_inference_steps": 2},
    )
