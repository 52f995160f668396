"""A photograph in, the spoken name of what it shows out, or a phrase about it; each trains on a processor.

Seeing is learned first, from sound alone: the stem aligns each photograph with clips of its name. What it then sees of
every photograph is computed once and kept, so that a step of diffusion costs what the denoiser costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.conditioning.pictures import ResidualStem
from synesthete.config import build
from synesthete.data.archives import ClassTar
from synesthete.data.augmentation import FlipCrop
from synesthete.recipes import image_to_speech
from synesthete.recipes.image_to_speech import image_to_speech_digits, set_length, with_voices
from synesthete.recipes.parts import swatches

if TYPE_CHECKING:
    from synesthete.config import Recipe

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


def image_to_speech_photos() -> Recipe:
    """A photograph of one of ten things, 32x32, says its name, in a voice that one can choose; 0.98 s of log-mel."""
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


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes, or twelve of a hundred, in seconds, on swatches of colour; it speaks noise."""
    recipe.data.class_names = recipe.data.class_names or (*PHOTOS, "monarch_butterfly", "school_bus")
    recipe.data.sources = (swatches(recipe, 4, 2),)
    return image_to_speech.debug(recipe)
