"""A handwritten digit in, its spoken name out; both train on two cores."""

from __future__ import annotations

from typing import Any

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PictureStem
from synesthete.conditioning.voices import VoicedPicture
from synesthete.config import Recipe, Stage, build
from synesthete.data.augmentation import Affine
from synesthete.data.image_speech_pairs import ImageSpeechPairs
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.denoisers.hourglass import Hourglass
from synesthete.objectives import Alignment
from synesthete.recipes.parts import denoise, preconditioned_flow, shrink, ten_steps

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
        codec=build(MelCodec, num_samples=NUM_SAMPLES, whitening=0.5),
        conditioner=build(PictureStem, size=28, channels=1, widths=(32, 64, 128), width=256, fit="ink"),
        denoiser=build(Hourglass, sample_size=(100, 64), cell_size=(100, 1), merge=(1, 4)),
        process=preconditioned_flow(),
        stages=[
            Stage("align", build(Alignment), num_steps=300, batch_size=256, learning_rate=3e-3, train=("conditioner",)),
            denoise(num_steps=6000, batch_size=64, learning_rate=1.5e-3, num_warmup_steps=100, ema_decay=0.999),
        ],
        sampling=ten_steps(guidance_scale=2.0),
        weights="float16",
    )


def image_to_speech_voices() -> Recipe:
    """The same in a voice that one can choose, as high and as fast as one likes; 0.85 s."""
    recipe = with_voices(image_to_speech_digits())
    recipe.name = "image-to-speech-voices"
    set_length(recipe, num_frames=80)  # the slow ones of Kokoro's voices, should they speak
    recipe.data.rates = (150, 200)
    return recipe


def with_voices(recipe: Recipe) -> Recipe:
    """The recipe with a conditioner that is told beside the picture who speaks, how high and how fast."""
    recipe.conditioner = build(VoicedPicture, picture=recipe.conditioner, width=recipe.conditioner.width)
    return recipe


def set_length(recipe: Recipe, num_frames: int) -> None:
    """Give clips, codec and denoiser one length, in frames of 256 samples."""
    recipe.data.num_samples = recipe.codec.num_samples = num_frames * 256 - 1
    recipe.denoiser.sample_size = (100, num_frames)


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, photographs as swatches of colour; it speaks noise."""
    recipe.stages[0].objective.width, recipe.stages[0].objective.hidden = 32, 16
    stem: dict[str, Any] = {"widths": (8, 16, 16), "width": 32}
    if recipe.conditioner.target is VoicedPicture:
        stem = {"picture": stem, "width": 32}
    cells = {"cell_width": 100, "num_cell_blocks": 1, "cell_mlp_ratio": 1.0}
    return shrink(
        recipe,
        data={"takes": 1, "limit": 256},
        codec={"num_iterations": 4},
        conditioner=stem,
        denoiser={"width": 32, "depth": 2, "num_heads": 2, "condition_width": 32, "pooled_width": 32, **cells},
    )
