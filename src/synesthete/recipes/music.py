"""Music: nothing, or an instrument's family, in; seconds of sound out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.codecs.mel import MelCodec
from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Labels, Unconditional
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.augmentation import AudioAugmentation
from synesthete.data.music import Music
from synesthete.data.recordings import Recordings
from synesthete.data.synthetic import TIMBRES, Tones
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising
from synesthete.recipes.debug import shrink

if TYPE_CHECKING:
    from synesthete.config import Build

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
    """Four seconds of music at 32 kHz from a folder of recordings; trains on two cores in an hour."""
    return Recipe(
        name="music",
        task="music",
        data=build(
            Music,
            sources=(build(Recordings),),
            stride=0.5,
            augmentation=build(AudioAugmentation, semitones=(-1.0, 1.0), gain_db=(0.0, 0.0), shift=0.25),
            num_views=4,
        ),
        codec=mel(num_samples=128_000, sample_rate=32_000),
        conditioner=build(Unconditional),
        denoiser=over_frames(251, patch=4, width=384, depth=8, seams=256),
        # How loud a piece is, and neighbouring tokens are together, is decided near noise: asked there, stepped there.
        process=frames_process(mean=2.0, std=1.8),
        stages=[denoise(num_steps=6500, batch_size=16, learning_rate=8e-4)],
        sampling=log_snr_sampling(20),
        weights="float16",
    )


def music_stft() -> Recipe:
    """Four seconds at 32 kHz as a U-Net over a magnitude spectrogram of 224 x 416, as the music experiment had it."""
    return Recipe(
        name="music-stft",
        task="music",
        data=recordings(),
        codec=build(StftCodec, num_bins=224, num_frames=416),
        conditioner=build(Unconditional),
        denoiser=build(
            UNet,
            sample_size=(224, 416),
            in_channels=1,
            channels=(48, 96, 192, 384),
            num_blocks=1,
            attention_levels=(3,),
            patch_size=4,
            condition_width=None,
            pooled_width=None,
        ),
        process=build(Process, prediction_type="flow", timestep_sampling="logit_normal", timestep_mean=0.5),
        stages=[denoise(num_steps=3000, batch_size=16, learning_rate=4e-4)],
        sampling=log_snr_sampling(20),
        weights="float16",
    )


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
        denoiser=over_frames(94, patch=2, width=256, depth=4, told=256),
        process=frames_process(),
        stages=[denoise(num_steps=3000, batch_size=32, learning_rate=1e-3)],
        sampling=Sampling(sampler="flow-euler", num_inference_steps=20, guidance_scale=2.0, precision="auto"),
        weights="float16",
    )


def recordings() -> Build:
    """A folder of recordings, in pieces that begin every half second."""
    return build(Music, sources=(build(Recordings),), stride=0.5)


def mel(num_samples: int, sample_rate: int) -> Build:
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
    )


def over_frames(
    num_frames: int, *, patch: int, width: int, depth: int, told: int | None = None, seams: int | None = None
) -> Build:
    """A transformer whose tokens are `patch` whole spectra each; it predicts x_0 (DESIGN law 6)."""
    return build(
        DiT,
        sample_size=(128, num_frames),
        patch_size=(128, patch),
        width=width,
        depth=depth,
        num_heads=8,
        condition_width=told,
        pooled_width=told,
        boundary_width=seams,
    )


def frames_process(mean: float = 0.5, std: float = 1.0) -> Build:
    """A flow whose network says x_0, more often asked near noise."""
    return build(
        Process,
        prediction_type="sample",
        loss_space="flow",
        timestep_sampling="logit_normal",
        timestep_mean=mean,
        timestep_std=std,
    )


def log_snr_sampling(num_inference_steps: int) -> Sampling:
    """Steps as dense where a whole piece's level is decided as where its grain is; nothing to be guided by."""
    return Sampling(
        sampler="flow-dpmsolver++",
        num_inference_steps=num_inference_steps,
        timestep_spacing="log_snr",
        guidance_scale=1.0,
        precision="auto",
    )


def denoise(num_steps: int, batch_size: int, learning_rate: float) -> Stage:
    """The one stage of each."""
    return Stage(
        "denoise",
        build(Denoising),
        num_steps=num_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        num_warmup_steps=min(200, num_steps // 10),
        ema_decay=0.998,
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on tones it makes itself; it plays noise."""
    recipe.data.sources = (build(Tones),)
    codec, denoiser = recipe.codec, recipe.denoiser
    grid = {"num_samples": 8000, "sample_rate": 8000, "n_fft": 128, "hop_length": 64, "num_iterations": 4}
    bands, size = {"n_mels": 24}, (24, 126)
    if codec.target is StftCodec:
        bands, size = {"num_bins": 64, "num_frames": 124}, (64, 124)
    network: dict[str, Any] = {"channels": (16, 16), "attention_levels": (1,)}
    if denoiser.target is DiT:
        seams = denoiser.boundary_width and 16
        network = {"patch_size": (size[0], 4), "width": 32, "depth": 2, "boundary_width": seams}
    conditioner: dict[str, Any] = {}
    if recipe.name == "music-notes":
        recipe.data.classes = {name: (f"{name}*",) for name in TIMBRES}
        conditioner = {"num_classes": len(TIMBRES), "width": 16}
        network |= {"condition_width": 16, "pooled_width": 16}
    return shrink(
        recipe,
        batch_size=8,
        data={"limit": 24, "num_views": 1},
        codec=grid | bands,
        conditioner=conditioner,
        denoiser={"sample_size": size, "num_heads": 2, **network},
        sampling={"num_inference_steps": 4},
    )
