"""Music through latents: an autoencoder of spectrograms first, then diffusion over what it keeps."""

from __future__ import annotations

from synesthete.codecs.latent import LatentCodec
from synesthete.conditioning.labels import Unconditional
from synesthete.config import Recipe, Stage, build
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Autoencoding
from synesthete.recipes.music import debug as debug_music
from synesthete.recipes.music import denoise, log_snr_sampling, music_stft, recordings


def music_latent() -> Recipe:
    """Four seconds at 32 kHz as 28 x 52 latents of 8 channels, an eighth of a spectrogram's numbers; for two cores."""
    return Recipe(
        name="music-latent",
        task="music",
        data=recordings(),
        codec=build(LatentCodec, base=music_stft().codec, latent_channels=8, channels=(32, 64, 128), patch_size=2),
        conditioner=build(Unconditional),
        denoiser=build(
            UNet,
            sample_size=(28, 52),
            in_channels=8,
            channels=(96, 192, 288),
            num_blocks=1,
            attention_levels=(1, 2),
            condition_width=None,
            pooled_width=None,
        ),
        process=build(Process, prediction_type="flow", timestep_sampling="logit_normal"),
        stages=[
            Stage(
                "autoencode",
                # A quarter of the columns at a time: as many different sounds in a quarter of the time.
                build(Autoencoding, num_columns=104),
                train=("codec",),
                num_steps=2000,
                batch_size=16,
                learning_rate=1e-3,
                num_warmup_steps=100,
                ema_decay=0.995,
            ),
            denoise(num_steps=3000, batch_size=16, learning_rate=6e-4),
        ],
        sampling=log_snr_sampling(20),
        weights="float16",
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on tones it makes itself; it plays noise."""
    codec, recipe.codec = recipe.codec, recipe.codec.base
    recipe = debug_music(recipe)
    codec.base, recipe.codec = recipe.codec, codec
    codec.channels, codec.latent_channels = (8, 16, 16), 4
    recipe.stages[0].objective.num_columns = 64
    recipe.denoiser.sample_size, recipe.denoiser.in_channels = (8, 16), 4
    return recipe
