"""What the digits' recipe becomes with photographs for pictures, or with phrases for words; both train on two cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.conditioning.pictures import ResidualStem
from synesthete.config import Stage, build
from synesthete.data.archives import ClassTar
from synesthete.data.augmentation import FlipCrop
from synesthete.data.pictures import DIGITS
from synesthete.data.synthetic import Swatches
from synesthete.objectives import Alignment, Denoising
from synesthete.recipes.image_to_speech import image_to_speech_digits, shrink

if TYPE_CHECKING:
    from synesthete.config import Recipe

PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PHRASES = (
    "A zero, round as an egg",
    "A one, a single upright stroke",
    "A two, with the neck of a swan",
    "A three, open to the left",
    "A four, all straight lines",
    "A five, the fingers of a hand",
    "A six, curled up like a snail",
    "A seven, the days of the week",
    "An eight, one ring upon another",
    "A nine, a balloon on a string",
)


def image_to_speech_photos() -> Recipe:
    """A small photograph of one of ten things says its name, in one of many voices; trains on two cores.

    Seeing is learned first, from sound alone: the stem aligns each photograph with clips of its name. What it then
    sees of every photograph is computed once and kept, so that a step of diffusion costs what the denoiser costs.
    """
    recipe = image_to_speech_digits()
    recipe.name = "image-to-speech-photos"
    recipe.data.sources = (build(ClassTar, num_test=5000),)
    recipe.data.class_names = PHOTOS
    recipe.data.augmentation = build(FlipCrop)
    recipe.conditioner = build(ResidualStem)
    set_length(recipe, num_frames=92)  # 0.98 s: "automobile" at the slowest rate
    recipe.stages = [
        Stage(
            "align",
            build(Alignment),
            num_steps=900,
            batch_size=512,
            learning_rate=4e-3,
            weight_decay=0.05,
            num_warmup_steps=150,
            train=("conditioner",),
        ),
        Stage("denoise", build(Denoising), num_steps=5000, batch_size=64, num_views=2),
    ]
    return recipe


def image_to_speech_photos_debug() -> Recipe:
    """The same from the same classes at a size that runs in seconds, on swatches of colour; it speaks noise."""
    recipe = shrink(image_to_speech_photos())
    recipe.data.sources = (build(Swatches, class_names=PHOTOS, num_train=4, num_test=2),)
    return recipe


def image_to_speech_phrases() -> Recipe:
    """A handwritten digit says a whole phrase about itself, 3 s, in one of many voices; trains on two cores."""
    recipe = image_to_speech_digits()
    recipe.name = "image-to-speech-phrases"
    recipe.data.words = dict(zip(DIGITS, PHRASES, strict=True))
    set_length(recipe, num_frames=280)
    recipe.stages[1].num_steps = 3000
    return recipe


def image_to_speech_phrases_debug() -> Recipe:
    """The same from the same classes at a size that runs in seconds; it speaks noise."""
    return shrink(image_to_speech_phrases())


def set_length(recipe: Recipe, num_frames: int) -> None:
    """Give clips, codec and denoiser one length, in frames of 256 samples."""
    num_samples = num_frames * 256 - 1
    recipe.data.num_samples = recipe.codec.num_samples = num_samples
    recipe.denoiser.sample_size = (100, num_frames)
