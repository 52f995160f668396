"""A picture in, the spoken name of what it shows out."""

from __future__ import annotations

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PictureStem
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.augmentation import Affine
from synesthete.data.image_speech_pairs import ImageSpeechPairs
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.objectives import Alignment, Denoising

# 64 frames, 0.68 s: the longest digit at the slowest rate, sixteen tokens of four frames.
NUM_SAMPLES = 64 * 256 - 1


def image_to_speech_digits() -> Recipe:
    """A handwritten digit says its name, in one of many voices; 0.68 s of 100-band log-mel."""
    return Recipe(
        name="image-to-speech-digits",
        task="image-to-speech",
        data=build(
            ImageSpeechPairs,
            sources=(build(BuiltInDigits), build(Mnist)),
            class_names=DIGITS,
            num_samples=NUM_SAMPLES,
            augmentation=build(Affine),
        ),
        codec=build(MelCodec, num_samples=NUM_SAMPLES),
        conditioner=build(PictureStem, size=28, channels=1, widths=(32, 64, 128), width=256, fit="ink"),
        denoiser=build(DiT, sample_size=(100, 64), patch_size=(100, 4), width=256, depth=4, num_heads=4, mlp_ratio=3),
        process=build(
            Process,
            schedule="flow",
            prediction_type="sample",
            loss_space="flow",
            timestep_sampling="logit_normal",
            timestep_mean=1.0,
        ),
        stages=[
            Stage("align", build(Alignment), num_steps=300, batch_size=256, learning_rate=3e-3, train=("conditioner",)),
            Stage("denoise", build(Denoising), num_steps=6000, batch_size=64),
        ],
        sampling=Sampling(
            sampler="flow-euler",
            num_inference_steps=10,
            timestep_shift=3.0,
            guidance_scale=2.0,
            guidance_interval=(0.6, 1.0),
        ),
        weights="float16",
    )


def image_to_speech_digits_debug() -> Recipe:
    """The same from the same classes at a size that runs in seconds; it speaks noise."""
    return shrink(image_to_speech_digits())


def shrink(recipe: Recipe) -> Recipe:
    """A recipe's debug twin."""
    recipe.name += "-debug"
    recipe.data.takes, recipe.data.limit = 1, 256
    recipe.conditioner.widths = (8, 16, 16)
    recipe.conditioner.width = recipe.denoiser.condition_width = recipe.denoiser.pooled_width = 32
    recipe.denoiser.width, recipe.denoiser.depth, recipe.denoiser.num_heads = 32, 2, 2
    recipe.stages[0].objective.width, recipe.stages[0].objective.hidden = 32, 16
    for stage in recipe.stages:
        stage.num_steps, stage.batch_size, stage.num_warmup_steps = 6, 16, 2
        stage.checkpoint_every, stage.preview_every, stage.log_every = 3, 6, 1
    return recipe
