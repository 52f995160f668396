"""A digit or a photograph in, its spoken name or a phrase about it out; each trains on two cores."""

from __future__ import annotations

from typing import Any

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PictureStem, ResidualStem
from synesthete.conditioning.voices import VoicedPicture
from synesthete.config import Recipe, Stage, build
from synesthete.data.archives import ClassTar
from synesthete.data.augmentation import Affine, FlipCrop
from synesthete.data.image_speech_pairs import ImageSpeechPairs
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.denoisers.hourglass import Hourglass
from synesthete.objectives import Alignment
from synesthete.recipes.parts import denoise, preconditioned_flow, shrink, swatches, ten_steps

# 64 frames, 0.68 s: the longest digit at the slowest rate, sixteen tokens of four frames.
NUM_SAMPLES = 64 * 256 - 1
PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PHRASES = {
    "goldfish": "A goldfish, bright orange fish",
    "banana": "A banana, yellow, sweet and soft",
    "elephant": "An elephant, gray giant with a long trunk",
    "jellyfish": "A jellyfish, drifting in deep water",
    "ladybug": "A ladybug, red beetle with black spots",
    "lighthouse": "A lighthouse, a lamp above the sea",
    "monarch_butterfly": "A butterfly on orange wings",
    "penguin": "A penguin, a bird that cannot fly",
    "pizza": "A pizza, round and hot, with cheese",
    "school_bus": "A school bus full of children",
}


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


def image_to_speech_photos() -> Recipe:
    """A photograph of one of ten things, 32x32, says its name, in a voice that one can choose; 0.98 s of log-mel.

    Seeing is learned first, from sound alone: the stem aligns each photograph with clips of its name. What it then sees
    of every photograph is computed once and kept, so that a step of diffusion costs what the denoiser costs.
    """
    recipe = image_to_speech_digits()
    recipe.name = "image-to-speech-photos"
    recipe.data.sources = (build(ClassTar, num_test=5000),)
    recipe.data.class_names, recipe.data.augmentation = PHOTOS, build(FlipCrop)
    recipe.conditioner = build(ResidualStem)
    recipe = with_voices(recipe)
    set_length(recipe, num_frames=92)  # "automobile" at the slowest rate
    align, denoise = recipe.stages
    align.num_steps, align.batch_size, align.learning_rate = 900, 512, 4e-3
    align.weight_decay, align.num_warmup_steps = 0.05, 150
    denoise.num_steps, denoise.num_views = 5000, 2
    return recipe


def image_to_speech_100() -> Recipe:
    """A photograph, 64x64, says which of a hundred things it shows, in a voice that one can choose; 1.19 s."""
    recipe = image_to_speech_photos()
    recipe.name = "image-to-speech-100"
    recipe.data.sources, recipe.data.class_names = (build(ClassTar),), None  # whatever the archive has
    recipe.data.augmentation = build(FlipCrop, min_scale=0.5)
    recipe.data.takes, recipe.data.rates = 3, (150, 200)
    # A stage more than for 32x32, and few channels where the picture is large.
    recipe.conditioner.picture = build(ResidualStem, size=64, widths=(16, 32, 128, 256, 256))
    set_length(recipe, num_frames=112)  # "christmas stocking" at the slowest rate
    align, denoise = recipe.stages
    align.num_steps, align.batch_size, align.learning_rate = 900, 256, 3e-3
    denoise.num_steps, denoise.batch_size, denoise.learning_rate = 2200, 32, 1e-3
    return recipe


def image_to_speech_phrases() -> Recipe:
    """A photograph of one of ten things, 64x64, says a whole phrase about it, in a voice that one can choose; 3 s."""
    recipe = image_to_speech_100()
    recipe.name = "image-to-speech-phrases"
    recipe.data.sources = (build(ClassTar, classes=tuple(PHRASES)),)
    recipe.data.class_names, recipe.data.words, recipe.data.takes = tuple(PHRASES), PHRASES, 12
    recipe.data.rates = (130, 190)
    set_length(recipe, num_frames=280)
    align, denoise = recipe.stages
    align.num_steps, align.num_warmup_steps = 300, 50
    denoise.num_steps = 3000
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
    """The same from the same classes, or twelve of a hundred, in seconds, on swatches for photos; it speaks noise."""
    if recipe.conditioner.target is VoicedPicture and recipe.conditioner.picture.target is ResidualStem:
        recipe.data.class_names = recipe.data.class_names or (*PHOTOS, "monarch_butterfly", "school_bus")
        recipe.data.sources = (swatches(recipe, 4, 2),)
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
