"""A vocoder for music: log-mels at 32 kHz back into sound, by a network that is trained here."""

from __future__ import annotations

from synesthete.codecs.vocoder import VocoderCodec
from synesthete.conditioning.labels import Unconditional
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.music import Music
from synesthete.data.recordings import Recordings
from synesthete.data.synthetic import Tones
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.objectives import Vocoding
from synesthete.recipes.parts import shrink


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


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on tones it makes itself."""
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
