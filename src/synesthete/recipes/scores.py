"""Scores: four voices composed, bar by bar, from a key, from a melody, or from nothing."""

from __future__ import annotations

from synesthete.codecs.roll import RollCodec
from synesthete.conditioning.sketch import SketchedScore
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.scores.corpus import Scores
from synesthete.data.scores.sources import BachChorales, SyntheticChorales
from synesthete.denoisers.hourglass import Hourglass
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising
from synesthete.recipes.debug import shrink


def music_compose() -> Recipe:
    """Four-part chorales, eight bars at a time, in a key, on a melody or from nothing; half an hour of a core."""
    return Recipe(
        name="music-compose",
        task="music-compose",
        data=build(Scores, sources=(build(BachChorales),)),
        codec=build(RollCodec, lowest=34, num_pitches=49, num_columns=128),
        conditioner=build(SketchedScore, lowest=34, num_pitches=49, num_columns=128, width=256),
        denoiser=build(
            Hourglass,
            sample_size=(51, 128),
            cell_size=(51, 1),  # a sixteenth note of all voices
            merge=(1, 4),  # a quarter note is a token
            in_channels=4,
            cell_width=208,
            num_cell_blocks=2,
            cell_mlp_ratio=2.0,
            width=256,
            depth=4,
            num_heads=4,
            mlp_ratio=2.5,
            condition_width=256,
            pooled_width=256,
            spatial_channels=8,
        ),
        process=build(
            Process,
            prediction_type="sample",
            loss_space="flow",
            timestep_sampling="logit_normal",
            timestep_mean=0.5,
        ),
        stages=[
            Stage(
                "denoise",
                build(Denoising),
                num_steps=3000,
                batch_size=64,
                learning_rate=1e-3,
                num_warmup_steps=200,
                ema_decay=0.998,
            )
        ],
        sampling=Sampling(sampler="flow-euler", num_inference_steps=40, guidance_scale=1.5, precision="auto"),
        weights="float16",
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on chorales made by rule; its harmony is chance."""
    recipe.data.sources = (build(SyntheticChorales),)
    return shrink(
        recipe,
        batch_size=8,
        data={"limit": 24},
        codec={"num_columns": 32},
        conditioner={"num_columns": 32, "width": 16},
        denoiser={
            "sample_size": (51, 32),
            "num_cell_blocks": 1,
            "cell_size": (17, 1),
            "merge": (3, 4),
            "cell_width": 72,
            "width": 32,
            "depth": 1,
            "num_heads": 2,
            "condition_width": 16,
            "pooled_width": 16,
        },
        sampling={"num_inference_steps": 4},
    )
