"""A class in, a picture of it out; small enough for two cores."""

from __future__ import annotations

from typing import Any

from synesthete.codecs.autoencoder import KL, TINY, AutoencoderCodec
from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.learned_encoders import Words
from synesthete.config import Build, Recipe, Sampling, Stage, build
from synesthete.data.archives import ClassTar
from synesthete.data.augmentation import Affine, FlipCrop
from synesthete.data.emoji import GROUPS, Emoji
from synesthete.data.labelled import LabelledPictures
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.data.published_pictures import CLASSES, Stl10
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Autoencoding, Denoising
from synesthete.recipes.image_to_speech import PHOTOS
from synesthete.recipes.parts import denoise, preconditioned_flow, shrink, swatches

# Kept out of what `images-emoji` learns from, so that it can be seen what it makes of words never seen together.
NEVER_TOGETHER = ("blue tiger", "green cat", "purple fox", "pink pizza", "blue crab", "red frog", "green heart")

# What 64 pixels can show, and most of what STL-10 has: car, bird, cat, deer, dog, monkey, ship, truck and train.
THINGS = (
    "bullet_train",
    "chimpanzee",
    "elephant",
    "gazelle",
    "golden_retriever",
    "goldfish",
    "gondola",
    "goose",
    "jellyfish",
    "ladybug",
    "lemon",
    "lighthouse",
    "lion",
    "monarch_butterfly",
    "penguin",
    "persian_cat",
    "pizza",
    "school_bus",
    "sports_car",
    "tractor",
)

# stabilityai/sd-vae-ft-mse, as its config.json says: a recipe can be shown before anything is downloaded.
STABLE_DIFFUSION = {
    "kind": KL,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
# The tiny autoencoder of FLUX.2's latents (github.com/madebyollin/taesd, MIT).
TAEF2 = {"kind": TINY, "latent_channels": 32, "pools": True}
SMALL_AUTOENCODER = STABLE_DIFFUSION | {
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}


def images_digits() -> Recipe:
    """A digit's name or number becomes a handwritten digit, 32x32; trains on two cores in minutes, data built in."""
    return Recipe(
        name="images-digits",
        task="images",
        data=build(
            LabelledPictures,
            sources=(build(BuiltInDigits, num_test=397), build(Mnist)),
            class_names=DIGITS,
            augmentation=build(Affine, degrees=3.0, scale=0.03, shear=0.03, shift=0.015),
            num_classifier=400,
        ),
        codec=build(PixelCodec, size=32, channels=1),
        conditioner=build(Labels, num_classes=10, width=128),
        denoiser=unet(32, (48, 96, 128), in_channels=1, condition_width=128, pooled_width=128, dropout=0.1),
        process=cosine(),
        stages=[denoise(num_steps=3200, batch_size=64, learning_rate=8e-4)],
        sampling=Sampling(  # found by `synesthete tune`
            sampler="dpmsolver++sde",
            num_inference_steps=20,
            timestep_spacing="linspace",
            guidance_scale=1.5,
            guidance_interval=(0.2, 0.8),
        ),
        weights="float16",
    )


def images_photos() -> Recipe:
    """One of ten names becomes a small photograph, 32x32; trains on two cores within the hour."""
    return Recipe(
        name="images-photos",
        task="images",
        data=build(
            LabelledPictures,
            sources=(build(ClassTar, num_test=5000),),
            class_names=PHOTOS,
            augmentation=build(FlipCrop, padding=0),  # mirror images alone
            num_classifier=5000,
        ),
        codec=build(PixelCodec, size=32),
        conditioner=build(Labels, num_classes=10, width=256),
        denoiser=unet(32, (64, 128, 256)),
        process=cosine(),
        stages=[denoise(num_steps=7000, batch_size=64, learning_rate=5e-4, num_warmup_steps=300, ema_decay=0.999)],
        sampling=Sampling(sampler="dpmsolver++", num_inference_steps=20, guidance_scale=2.0, precision="auto"),
        weights="float16",
    )


def images_photos_64() -> Recipe:
    """One of twenty names becomes a photograph, 64x64, out of latents of taef2; trains on one core in minutes."""
    recipe = images_photos()
    recipe.name = "images-photos-64"
    recipe.data.sources = (build(ClassTar, classes=THINGS),)
    recipe.data.class_names, recipe.data.num_classifier = THINGS, 0
    recipe.codec = build(AutoencoderCodec, model="taef2", size=64, network=TAEF2)
    recipe.conditioner = build(Labels, num_classes=len(THINGS), width=128)
    recipe.denoiser = build(
        Hourglass,
        sample_size=(8, 8),
        in_channels=32,
        cell_size=(1, 1),
        merge=(2, 2),
        cell_width=128,
        num_cell_blocks=2,
        width=256,
        depth=6,
        condition_width=128,
        pooled_width=128,
    )
    recipe.process = preconditioned_flow(mean=0.0)
    recipe.stages = [denoise(num_steps=1200, batch_size=64, learning_rate=8e-4, num_warmup_steps=100)]
    recipe.sampling = Sampling(sampler="flow-dpmsolver++", num_inference_steps=20, guidance_scale=2.0, precision="auto")
    return recipe


def images_emoji() -> Recipe:
    """Words become an emoji in colour, 64x64; trains on one core in two hours."""
    return Recipe(
        name="images-emoji",
        task="images",
        data=build(
            LabelledPictures,
            sources=(build(Emoji, never=NEVER_TOGETHER),),
            class_names=tuple(GROUPS.values()),
            num_classifier=0,
        ),
        codec=build(
            LatentCodec, base=build(PixelCodec, size=64), latent_channels=12, channels=(64, 96, 128), patch_size=2
        ),
        conditioner=build(Words, width=128, depth=1),
        denoiser=build(
            DiT,
            sample_size=(8, 8),
            in_channels=12,
            patch_size=(1, 1),
            width=256,
            depth=6,
            num_heads=4,
            mlp_ratio=3,
            condition_width=128,
            pooled_width=128,
        ),
        process=preconditioned_flow(mean=0.0),
        stages=[
            Stage(
                "autoencode",
                build(Autoencoding),
                train=("codec",),
                num_steps=4000,
                batch_size=16,
                learning_rate=1e-3,
                num_warmup_steps=100,
                ema_decay=0.995,
            ),
            denoise(num_steps=6500, batch_size=64, learning_rate=8e-4, ema_decay=0.999),
        ],
        sampling=Sampling(sampler="flow-dpmsolver++", num_inference_steps=20, guidance_scale=2.0, precision="auto"),
        weights="float16",
    )


def images_stl10() -> Recipe:
    """One of ten names becomes a photograph, 96x96, as the STL-10 experiment had it; for a GPU, or for patience."""
    recipe = images_photos()
    recipe.name = "images-stl10"
    recipe.data.sources, recipe.data.class_names, recipe.data.num_classifier = (build(Stl10),), CLASSES, 500
    recipe.codec.size, recipe.denoiser = 96, unet(96, (64, 128, 128), dropout=0.1)
    recipe.process.num_train_timesteps = 500
    recipe.stages = [
        denoise(
            objective=build(Denoising, condition_dropout=0.2),
            num_steps=80_000,
            batch_size=128,
            gradient_accumulation_steps=2,
            learning_rate=2e-4,
            num_warmup_steps=4000,
            weight_decay=1e-4,
            betas=(0.9, 0.99),
            ema_decay=0.999,
        )
    ]
    return recipe


def images_stl10_dit() -> Recipe:
    """The same pictures from the transformer of the first system: denoisers are interchangeable."""
    recipe = images_stl10()
    recipe.name = "images-stl10-dit"
    recipe.denoiser = build(
        DiT, sample_size=(96, 96), in_channels=3, patch_size=(8, 8), width=256, depth=4, num_heads=4, mlp_ratio=3
    )
    return recipe


def images_stl10_latent() -> Recipe:
    """The same pictures as 12x12 latents of an autoencoder from the Hub, or from --set codec.model=FOLDER."""
    recipe = images_stl10()
    recipe.name = "images-stl10-latent"
    recipe.codec = build(AutoencoderCodec, size=96, network=STABLE_DIFFUSION)
    recipe.denoiser.sample_size, recipe.denoiser.in_channels = (12, 12), 4
    recipe.denoiser.channels, recipe.denoiser.patch_size = (128, 192), 1
    recipe.denoiser.attention_levels = (0, 1)
    recipe.stages[0].gradient_accumulation_steps = 1
    return recipe


def cosine() -> Build:
    """The process of all of them: a cosine schedule to pure noise, of which the network predicts the velocity."""
    return build(Process, schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)


def unet(size: int, channels: tuple[int, ...], **more: Any) -> Any:
    """A U-Net over patches of two pixels, with attention where these are fewer."""
    sizes = {"sample_size": (size, size), "channels": channels, "num_blocks": 1, "attention_levels": (1, 2)}
    return build(UNet, **sizes, patch_size=2, **more)


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, photographs as swatches of colour; it draws noise."""
    if recipe.name != "images-digits":
        recipe.data.sources = (swatches(recipe, 10, 4),)
    size, pixels = 16, recipe.codec
    of_kind: dict[str, Any] = {"channels": (8, 16), "attention_levels": (1,)}
    if recipe.denoiser.target is DiT:
        of_kind = {"width": 32, "depth": 2}
    elif recipe.denoiser.target is Hourglass:
        of_kind = {"width": 32, "depth": 2, "cell_width": 16, "num_cell_blocks": 1}
    if recipe.codec.target is AutoencoderCodec:
        recipe.codec.model, recipe.codec.network, size = None, SMALL_AUTOENCODER, 8
        of_kind["in_channels"] = 4
    elif recipe.codec.target is LatentCodec:
        recipe.codec.channels, recipe.codec.latent_channels, pixels, size = (8, 16, 16), 4, recipe.codec.base, 2
        of_kind["in_channels"] = 4
    pixels.size = 16
    return shrink(
        recipe,
        data={"limit": 100, "num_classifier": None},
        conditioner={"width": 16},
        denoiser={"sample_size": (size, size), "num_heads": 2, "condition_width": 16, "pooled_width": 16, **of_kind},
        sampling={"num_inference_steps": 4},
    )
