"""A digit or a photograph in, its spoken name or a phrase about it out: on two cores, or the full-size systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PicturePatches, PictureStem, ResidualStem
from synesthete.conditioning.voices import VoicedPicture
from synesthete.config import Recipe, Stage, build
from synesthete.data.archives import ClassTar
from synesthete.data.augmentation import Affine, FlipCrop
from synesthete.data.labelled import ImageSpeechPairs
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.data.published_pictures import ImageNet
from synesthete.data.speech.clips import PHRASES, TABLE, Phrase
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.diffusion.process import Process
from synesthete.io import tab_separated
from synesthete.objectives import Alignment
from synesthete.recipes.parts import denoise, preconditioned_flow, shrink, swatches, ten_steps

# 64 frames, 0.68 s: the longest digit at the slowest rate, sixteen tokens of four frames.
NUM_SAMPLES = 64 * 256 - 1
PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SAID = {
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
# 280 frames, 2.99 s: 35 patches of eight.
FULL_SAMPLES = 280 * 256 - 1
WIDTH = 768


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
    recipe.data.sources = (build(ClassTar, classes=tuple(SAID)),)
    recipe.data.class_names, recipe.data.words, recipe.data.takes = tuple(SAID), SAID, 12
    recipe.data.rates = (130, 190)
    set_length(recipe, num_frames=280)
    align, denoise = recipe.stages
    align.num_steps, align.num_warmup_steps = 300, 50
    denoise.num_steps = 3000
    return recipe


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
            num_samples=FULL_SAMPLES,
            takes=48,
            pitches=(45, 60),  # four semitones below and above can be reached by every voice
            speeds=(0.75, 1.35),
            semitones=(-4.0, 4.0),
            augmentation=build(FlipCrop, padding=0, min_scale=0.5),
        ),
        codec=build(MelCodec, num_samples=FULL_SAMPLES),
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
    return (
        *PHRASES,
        *(Phrase(*row) for row in tab_separated(Path(__file__).with_name("hundred_phrases.tsv"))),
    )


def speak(recipe: Recipe, phrases: Sequence[Phrase]) -> None:
    """Let a recipe be about these classes, with these phrases."""
    recipe.data.words = {phrase.name: phrase.text for phrase in phrases}
    recipe.data.class_names = tuple(recipe.data.words)


def widen(recipe: Recipe, width: int) -> None:
    """Give conditioner, denoiser and alignment one width."""
    recipe.conditioner.width = recipe.denoiser.width = width
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = width
    recipe.stages[0].objective.width = width


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
    if recipe.denoiser.target is DiT:
        return debug_full(recipe)
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


def debug_full(recipe: Recipe) -> Recipe:
    """`debug` of the full-size systems."""
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
