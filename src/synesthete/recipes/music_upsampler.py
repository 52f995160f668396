"""Highs for low-rate music, and music at a low rate to give them to: the two halves of a cascade."""

from __future__ import annotations

from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Unconditional
from synesthete.conditioning.low_band import LowBand
from synesthete.config import Recipe, build
from synesthete.data.augmentation import AudioAugmentation
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.recipes.music import debug as debug_music
from synesthete.recipes.music import denoise, log_snr_sampling, recordings


def music_upsampler() -> Recipe:
    """Four seconds of sound at 8 kHz become 32 kHz: the two octaves above 4 kHz are made; trains on two cores."""
    grid = {"num_samples": 128_000, "sample_rate": 32_000, "n_fft": 480, "hop_length": 288}
    grid |= {"num_bins": 240, "num_frames": 448}
    data = recordings()
    # Played slower, a recording has no highs left to learn from. Old recordings are faint.
    data.augmentation, data.num_views = build(AudioAugmentation, semitones=(0.0, 2.0), gain_db=(-12.0, 3.0)), 3
    data.stride = 1.0
    return Recipe(
        name="music-upsampler",
        task="music",
        data=data,
        codec=build(StftCodec, scaling="band", **grid),
        conditioner=build(LowBand, low_rate=8_000, **grid),
        denoiser=build(
            UNet,
            sample_size=(240, 448),
            in_channels=1,
            channels=(48, 96, 144),
            num_blocks=1,
            attention_levels=(2,),
            patch_size=4,
            condition_width=None,
            pooled_width=None,
            spatial_channels=2,
        ),
        # How loud the highs are as a whole, or a piece is where nothing is given, is decided near noise.
        process=build(
            Process, prediction_type="flow", timestep_sampling="logit_normal", timestep_mean=1.5, timestep_std=1.8
        ),
        stages=[denoise(num_steps=4000, batch_size=8, learning_rate=6e-4)],
        # What is given decides nearly all, so that there is little to be gained by guidance.
        sampling=log_snr_sampling(12),
        weights="float16",
    )


def music_low() -> Recipe:
    """Four seconds of music at 8 kHz from nothing, for an upsampler to finish; trains on two cores."""
    recipe = music_upsampler()
    recipe.name, recipe.data = "music-low", recordings()
    recipe.codec = build(
        StftCodec, num_samples=32_000, sample_rate=8_000, n_fft=256, hop_length=96, num_bins=128, num_frames=336
    )
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.sample_size, recipe.denoiser.spatial_channels = (128, 336), None
    recipe.denoiser.channels = (64, 128, 192)
    recipe.stages = [denoise(num_steps=4000, batch_size=16, learning_rate=6e-4)]
    recipe.sampling.num_inference_steps = 20
    return recipe


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on tones it makes itself; it plays or adds noise."""
    recipe = debug_music(recipe)
    if recipe.conditioner.target is LowBand:
        for name in ("num_samples", "sample_rate", "n_fft", "hop_length", "num_bins", "num_frames"):
            setattr(recipe.conditioner, name, getattr(recipe.codec, name))
        recipe.conditioner.low_rate = 2_000
    return recipe
