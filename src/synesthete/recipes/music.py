"""Music: nothing, or an instrument's family, in; seconds of sound out, through latents or low and upsampled, too."""

from __future__ import annotations

from typing import Any

from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import MelCodec, VocoderCodec
from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Labels, Loudness, Unconditional
from synesthete.conditioning.low_band import LowBand
from synesthete.config import Build, Recipe, Sampling, Stage, build
from synesthete.data.augmentation import AudioAugmentation
from synesthete.data.music import Music
from synesthete.data.recordings import Recordings
from synesthete.data.synthetic import TIMBRES, Tones
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Autoencoding, Vocoding
from synesthete.recipes.parts import change, denoise, preconditioned_flow, shrink

# Families of instruments, by the names that free sample libraries give their folders and files.
FAMILIES = {
    "strings": ("*violin*", "*viola*", "*cello*", "*contrabass*"),
    "brass": ("*trumpet*", "*trombone*", "*tuba*", "*horn*"),
    "woodwind": ("*flute*", "*sax*", "*clarinet*", "*oboe*"),
    "mallets": ("*vibraphone*", "*marimba*", "*glock*", "*xylophone*"),
    "plucked": ("*harp/*", "*guit*"),
    "piano": ("*piano*",),
    "cymbals": ("*hat_*", "*ride_*", "*cymbal*", "*splash*"),
    "drums": ("*bd_*", "*sn_*", "*drum_*", "*snare*", "*kick*", "*bassdrum*", "*darbuka*", "*tom/*", "*_tom*"),
    "tabla": ("*tabla_*",),
}


def music() -> Recipe:
    """Four seconds of music at 32 kHz, as loud as one says, from a folder of recordings; an hour of one core."""
    return Recipe(
        name="music",
        task="music",
        data=build(
            Music,
            sources=(build(Recordings),),
            stride=0.5,
            silence_db=-50.0,
            sounding=0.25,  # a lone beat before silence is no music
            augmentation=build(AudioAugmentation, semitones=(-1.0, 1.0), gain_db=(0.0, 0.0), shift=0.25),
            num_views=4,
        ),
        codec=mel(num_samples=128_000, sample_rate=32_000, whitening=0.5),
        conditioner=build(Loudness, width=256),
        denoiser=build(
            Hourglass,
            sample_size=(128, 251),
            cell_size=(128, 1),
            merge=(1, 4),
            cell_width=256,
            width=384,
            depth=6,
            num_heads=6,
            condition_width=None,
            pooled_width=256,
        ),
        # What a whole piece shares is decided near noise: asked there as well, and stepped there.
        process=preconditioned_flow(mean=0.5, std=1.8),
        stages=[denoise(num_steps=6000, batch_size=16, learning_rate=1e-3)],
        # Steps as dense where a whole piece's level is decided as where its grain is; nothing to be guided by.
        sampling=Sampling(
            sampler="flow-dpmsolver++",
            num_inference_steps=20,
            timestep_spacing="log_snr",
            guidance_scale=1.0,
            precision="auto",
        ),
        weights="float16",
    )


def music_stft() -> Recipe:
    """Four seconds at 32 kHz as a U-Net over a magnitude spectrogram of 224 x 416, as the music experiment had it."""
    recipe = music()
    recipe.name, recipe.data, recipe.conditioner = "music-stft", recordings(), build(Unconditional)
    recipe.codec = build(StftCodec, num_bins=224, num_frames=416)
    recipe.denoiser = build(
        UNet,
        sample_size=(224, 416),
        in_channels=1,
        channels=(48, 96, 192, 384),
        num_blocks=1,
        attention_levels=(3,),
        patch_size=4,
        condition_width=None,
        pooled_width=None,
    )
    recipe.process = build(Process, prediction_type="flow", timestep_sampling="logit_normal", timestep_mean=0.5)
    recipe.stages = [denoise(num_steps=3000, batch_size=16, learning_rate=4e-4)]
    return recipe


def music_notes() -> Recipe:
    """The name of an instrument's family becomes a single note; trains on two cores within the hour."""
    return Recipe(
        name="music-notes",
        task="music",
        data=build(
            Music,
            sources=(build(Recordings),),
            classes=FAMILIES,
            stride=10.0,  # a note begins with its attack
            silence_db=-75.0,
            augmentation=build(AudioAugmentation, semitones=(-3.0, 3.0), gain_db=(-6.0, 3.0), shift=0.05),
            num_views=24,
            test_share=0.2,
            classifier_share=0.25,
        ),
        codec=mel(num_samples=48_000, sample_rate=24_000),
        conditioner=build(Labels, num_classes=len(FAMILIES), width=256),
        # Tokens of two whole spectra each, from which x_0 is predicted (DESIGN law 6), more often asked near noise.
        denoiser=build(
            DiT,
            sample_size=(128, 94),
            patch_size=(128, 2),
            width=256,
            depth=4,
            num_heads=8,
            condition_width=256,
            pooled_width=256,
        ),
        process=build(
            Process,
            prediction_type="sample",
            loss_space="flow",
            timestep_sampling="logit_normal",
            timestep_mean=0.5,
        ),
        stages=[denoise(num_steps=3000, batch_size=32, learning_rate=1e-3)],
        sampling=Sampling(sampler="flow-euler", num_inference_steps=20, guidance_scale=2.0, precision="auto"),
        weights="float16",
    )


def music_latent() -> Recipe:
    """Four seconds at 32 kHz as 28 x 52 latents of 8 channels, an eighth of a spectrogram's numbers; for two cores."""
    recipe = music_stft()
    recipe.name = "music-latent"
    recipe.codec = build(LatentCodec, base=recipe.codec, latent_channels=8, channels=(32, 64, 128), patch_size=2)
    denoiser = recipe.denoiser
    denoiser.sample_size, denoiser.in_channels, denoiser.patch_size = (28, 52), 8, 1
    denoiser.channels, denoiser.attention_levels = (96, 192, 288), (1, 2)
    recipe.process.timestep_mean = 0.0
    autoencode = Stage(
        "autoencode",
        # A quarter of the columns at a time: as many different sounds in a quarter of the time.
        build(Autoencoding, num_columns=104),
        train=("codec",),
        num_steps=2000,
        batch_size=16,
        learning_rate=1e-3,
        num_warmup_steps=100,
        ema_decay=0.995,
    )
    recipe.stages = [autoencode, denoise(num_steps=3000, batch_size=16, learning_rate=6e-4)]
    return recipe


def music_upsampler() -> Recipe:
    """Four seconds of sound at 8 kHz become 32 kHz: the two octaves above 4 kHz are made; trains on two cores."""
    grid = {"num_samples": 128_000, "sample_rate": 32_000, "n_fft": 480, "hop_length": 288}
    grid |= {"num_bins": 240, "num_frames": 448}
    recipe = music_stft()
    recipe.name = "music-upsampler"
    # Played slower, a recording has no highs left to learn from. Old recordings are faint.
    recipe.data.augmentation = build(AudioAugmentation, semitones=(0.0, 2.0), gain_db=(-12.0, 3.0))
    recipe.data.num_views, recipe.data.stride = 3, 1.0
    recipe.codec = build(StftCodec, scaling="band", **grid)
    recipe.conditioner = build(LowBand, low_rate=8_000, **grid)
    denoiser = recipe.denoiser
    denoiser.sample_size, denoiser.channels, denoiser.attention_levels = (240, 448), (48, 96, 144), (2,)
    denoiser.spatial_channels = 2
    # How loud the highs are as a whole, or a piece is where nothing is given, is decided near noise.
    recipe.process.timestep_mean, recipe.process.timestep_std = 1.5, 1.8
    recipe.stages = [denoise(num_steps=4000, batch_size=8, learning_rate=6e-4)]
    # What is given decides nearly all, so that there is little to be gained by guidance.
    recipe.sampling.num_inference_steps = 12
    return recipe


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


def music_vocoder() -> Recipe:
    """The codec alone: a Vocos network of 9M parameters for 128-band log-mels of 4 s at 32 kHz; it does not sample.

    Recipes with a `VocoderCodec` take its network by `codec.weights=RUN`. The denoiser stands in: it stays untrained.
    """
    return Recipe(
        name="music-vocoder",
        task="music",
        data=build(Music, sources=(build(Recordings),), stride=2.0),
        codec=build(VocoderCodec),
        conditioner=build(Unconditional),
        denoiser=build(
            DiT,
            sample_size=(128, 251),
            patch_size=(128, 4),
            width=32,
            depth=1,
            num_heads=2,
            condition_width=None,
            pooled_width=None,
        ),
        process=build(Process, schedule="flow", prediction_type="sample", loss_space="flow"),
        stages=[
            Stage(
                "vocode",
                build(Vocoding),
                num_steps=20_000,
                batch_size=16,
                train=("codec",),
                learning_rate=1e-3,
                num_warmup_steps=200,
                betas=(0.8, 0.99),
                gradient_clip=10.0,
                ema_decay=0.999,
            )
        ],
        sampling=Sampling(guidance_scale=1.0),
    )


def recordings() -> Build:
    """A folder of recordings, in pieces that begin every half second."""
    return build(Music, sources=(build(Recordings),), stride=0.5)


def mel(num_samples: int, sample_rate: int, whitening: float = 0.0) -> Build:
    """A log-mel of 128 bands whose windows tell the partials of a note apart; Griffin-Lim makes it sound."""
    return build(
        MelCodec,
        num_samples=num_samples,
        sample_rate=sample_rate,
        n_fft=2048,
        hop_length=512,
        n_mels=128,
        floor=1e-2,  # 94 dB below a full-scale sine: what is fainter is noise of 16 bits
        vocoder="griffin-lim",
        whitening=whitening,
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on tones it makes itself; it plays noise."""
    if recipe.codec.target is VocoderCodec:
        return debug_vocoder(recipe)
    recipe.data.sources = (build(Tones),)
    codec, denoiser = recipe.codec, recipe.denoiser
    latent: dict[str, Any] = {}
    if codec.target is LatentCodec:
        codec.channels, codec.latent_channels, codec = (8, 16, 16), 4, codec.base
        recipe.stages[0].objective.num_columns = 64
        latent = {"sample_size": (8, 16), "in_channels": 4}
    grid: dict[str, Any] = {"num_samples": 8000, "sample_rate": 8000, "n_fft": 128, "hop_length": 64}
    bands, size = {"n_mels": 24}, (24, 126)
    if codec.target is StftCodec:
        bands, size = {"num_bins": 64, "num_frames": 124}, (64, 124)
    change(codec, {**grid, **bands, "num_iterations": 4})
    network: dict[str, Any] = {"channels": (16, 16), "attention_levels": (1,)}
    if denoiser.target is DiT:
        network = {"patch_size": (size[0], 4), "width": 32, "depth": 2}
    elif denoiser.target is Hourglass:
        network = {"cell_size": (size[0], 1), "cell_width": 24, "num_cell_blocks": 1, "width": 32, "depth": 2}
        network["pooled_width"] = 16
    told: dict[str, Any] = {}
    if recipe.conditioner.target is Labels:
        recipe.data.classes = {name: (f"{name}*",) for name in TIMBRES}
        told = {"num_classes": len(TIMBRES), "width": 16}
        network |= {"condition_width": 16, "pooled_width": 16}
    elif recipe.conditioner.target is Loudness:
        told = {"width": 16}
    elif recipe.conditioner.target is LowBand:
        told = {**grid, **bands, "low_rate": 2_000}
    return shrink(
        recipe,
        batch_size=8,
        data={"limit": 24, "num_views": 1},
        conditioner=told,
        denoiser={"sample_size": size, "num_heads": 2, **network, **latent},
        sampling={"num_inference_steps": 4},
    )


def debug_vocoder(recipe: Recipe) -> Recipe:
    """`debug` of the codec alone."""
    recipe.data.sources = (build(Tones, num=3),)
    objective = recipe.stages[0].objective
    objective.crop, objective.resolutions = 2048, ((256, 64, 256), (512, 128, 512))
    sound = {"num_samples": 8000, "sample_rate": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 40}
    network = {"dim": 16, "intermediate_dim": 32, "num_layers": 2, "num_iterations": 4}
    return shrink(
        recipe,
        batch_size=8,
        data={"limit": 24},
        codec=sound | network,
        denoiser={"sample_size": (40, 126), "patch_size": (40, 4), "width": 16},
    )
