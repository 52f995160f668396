"""A sound, and perhaps a prompt, in; a picture of what sounds out: for a GPU, or learned from zero on two cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning import trial_towers
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.augmentation import Affine, AudioAugmentation, FlipCrop
from synesthete.data.captions import spell
from synesthete.data.pair_sources import Fsdd, PairManifest, SpokenWords
from synesthete.data.pictures import DIGITS, BuiltInDigits, Mnist
from synesthete.data.synthetic import ToneSounds
from synesthete.data.videos import EIGHT, VggSound
from synesthete.denoisers.stable_diffusion import BASE, StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.objectives import Alignment, Denoising
from synesthete.recipes.images import SMALL_AUTOENCODER, STABLE_DIFFUSION, cosine
from synesthete.recipes.parts import shrink, swatches

# None names what sounds: a model that could read that would not listen.
CAPTIONS = ("a photograph", "a {light} photograph", "a {warmth} photograph, {light}")
# A caption by which the base learns its classes, and one that leaves the class to be heard.
NAMED, UNNAMED = "a {weight} handwritten {class}", "a {weight} handwritten digit"
SHOWN, UNSHOWN = "a {light} photograph of {class}", "a {light} photograph"
# Kinds of sound that can be seen: classes of ESC-10 (Piczak 2015).
EVENTS = ("clock_tick", "dog_bark", "helicopter", "rain", "rooster")


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


def audio_to_image_digits() -> Recipe:
    """A spoken digit becomes a handwritten one, 28x28, in five stages; trains on two cores, data built in."""
    captions = (NAMED, UNNAMED)
    return Recipe(
        name="audio-to-image-digits",
        task="audio-to-image",
        data=build(
            AudioImagePairs,
            sources=(
                build(BuiltInDigits, num_test=397),
                build(Mnist),
                build(Fsdd),
                build(SpokenWords, words={name: name for name in DIGITS}, seconds=1.0, sample_rate=16_000),
            ),
            class_names=DIGITS,
            captions=captions,
            augmentation=build(Affine, degrees=3.0, scale=0.03, shear=0.03, shift=0.015),
            sound_augmentation=build(AudioAugmentation, semitones=(-3.0, 3.0), shift=0.1),
            num_classifier=400,
        ),
        codec=build(PixelCodec, size=28, channels=1),
        conditioner=build(
            AudioTextConditioner,
            sound=build(
                SoundEncoder,
                sample_rate=8000,
                num_samples=8000,
                n_fft=256,
                hop_length=80,
                n_mels=48,
                channels=(24, 48, 64, 96),
                width=128,
            ),
            text=build(TextTransformer, captions=spell(captions, DIGITS), width=128, num_tokens=6),
            width=128,
            hidden=256,
        ),
        denoiser=build(
            StableDiffusion,
            model=None,
            network=diffusers_unet((32, 64, 128)),
            sample_size=(28, 28),
            in_channels=1,
            condition_width=128,
            gated_width=128,
        ),
        process=cosine(),
        stages=stages((2200, 400, 300, 500, 300), UNNAMED),
        sampling=Sampling(sampler="dpmsolver++", num_inference_steps=15, guidance_scale=2.0),
        weights="float16",
    )


def audio_to_image_events() -> Recipe:
    """A sound of the world becomes a small photograph of what makes it, 32x32, in five stages; trains on two cores."""
    captions = (SHOWN, UNSHOWN)
    recipe = audio_to_image_digits()
    recipe.name = "audio-to-image-events"
    recipe.data = build(
        AudioImagePairs,
        # One clip of ESC-50 may give several files: `fold-clip-take`.
        sources=(build(PairManifest, pairing="class", group=r"(\d-\d+)-[A-Z]"),),
        class_names=EVENTS,
        captions=captions,
        balanced_batches=True,
        augmentation=build(FlipCrop, padding=2),
        sound_augmentation=build(AudioAugmentation, semitones=(-2.0, 2.0), shift=0.5),
    )
    recipe.codec = build(PixelCodec, size=32)
    recipe.conditioner.sound = build(
        SoundEncoder, sample_rate=16_000, num_samples=80_000, hop_length=320, channels=(24, 48, 64, 96), width=128
    )
    recipe.conditioner.text = build(TextTransformer, captions=spell(captions, EVENTS), width=128, num_tokens=8)
    recipe.denoiser.sample_size, recipe.denoiser.in_channels = (32, 32), 3
    recipe.stages = stages((2200, 600, 300, 500, 300), UNSHOWN)
    return recipe


def stages(num_steps: Sequence[int], unnamed: str) -> list[Stage]:
    """A base and an ear, learned from zero, then the three stages of the full size, which tell one caption alone."""
    base, align, tokens, lora, gates = num_steps
    heard: dict[str, Any] = {"batch_size": 64, "captions": (unnamed,), "ema_decay": 0.99}
    early = build(Denoising, sound_dropout=1.0)
    sees, hears = ("denoiser.base", "conditioner.text"), ("conditioner.sound",)
    return [
        stage("base", sees, base, 8e-4, early, batch_size=64, num_warmup_steps=200, ema_decay=0.998),
        stage(
            "align",
            ("conditioner.encoder",),
            align,
            2e-3,
            build(Alignment),
            batch_size=128,
            weight_decay=0.05,
            ema_decay=0.99,
        ),
        stage("tokens", hears, tokens, 1e-3, **heard),
        stage("lora", (*hears, "denoiser.lora"), lora, 5e-4, **heard),
        stage("gates", ("denoiser.gates",), gates, 2e-3, **heard),
    ]


def stage(
    name: str, train: tuple[str, ...], num_steps: int, learning_rate: float, objective: Any = None, **more: Any
) -> Stage:
    """A stage of denoising, unless it has another objective."""
    told = objective or build(Denoising)
    return Stage(name, told, train=train, num_steps=num_steps, learning_rate=learning_rate, **more)


def diffusers_unet(channels: tuple[int, ...], num_heads: int = 4, num_groups: int = 8) -> dict[str, Any]:
    """A network of Stable Diffusion's kind with attention where the picture is smallest, in diffusers' arguments."""
    above = len(channels) - 1
    return {
        "block_out_channels": list(channels),
        "layers_per_block": 1,
        "norm_num_groups": num_groups,
        "attention_head_dim": num_heads,  # so it is called there
        "down_block_types": ["DownBlock2D"] * above + ["CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"] + ["UpBlock2D"] * above,
    }


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, photographs as swatches, their sounds as tones; it draws noise."""
    if recipe.name == "audio-to-image-digits":
        recipe.data.sources[-1].takes = 1
    else:
        recipe.data.sources = (swatches(recipe, 10, 4), build(ToneSounds, class_names=recipe.data.class_names))
    denoiser = {"sample_size": (16, 16), "gated_width": 16, "lora_rank": 2}
    if recipe.name == "audio-to-image":
        width = {"condition_width": trial_towers.PROMPT_WIDTH}
        network = diffusers_unet((8, 16), num_heads=2, num_groups=4)
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
            denoiser={"model": None, "network": network, **width, **denoiser},
            sampling={"num_inference_steps": 4},
        )
    recipe.stages[1].objective.hidden = 16
    network = diffusers_unet((8, 8, 16), num_heads=2, num_groups=4)
    return shrink(
        recipe,
        data={"limit": 100, "num_classifier": None},
        codec={"size": 16},
        conditioner={
            "sound": {"channels": (4, 8), "n_mels": 16, "width": 16},
            "text": {"width": 16, "num_heads": 2},
            "width": 16,
            "hidden": 16,
        },
        denoiser={"network": network, "condition_width": 16, **denoiser},
        sampling={"num_inference_steps": 4},
    )
