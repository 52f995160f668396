"""Scores: four voices composed, bar by bar, from a key, from a melody, or from nothing; and a score as sound."""

from __future__ import annotations

from synesthete.codecs.mel import MelCodec
from synesthete.codecs.roll import RollCodec
from synesthete.conditioning.score_roll import ScoreRoll, SketchedScore
from synesthete.config import Recipe, Sampling, build
from synesthete.data.scores.corpus import Scores
from synesthete.data.scores.performances import RenderedScores, ScoredSounds
from synesthete.data.scores.rendering import Partials, SoundFont
from synesthete.data.scores.sources import BachChorales, SyntheticChorales
from synesthete.denoisers.hourglass import Hourglass
from synesthete.diffusion.note_masking import NoteMasking
from synesthete.recipes.parts import change, denoise, preconditioned_flow, shrink, ten_steps

NUM_FRAMES = 200  # of 20 ms, of what is heard: fifty tokens of four


def music_compose() -> Recipe:
    """Four-part chorales, eight bars at a time, in a key, on a melody or from nothing; an hour of a core."""
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
            spatial_channels=10,  # of the held notes, and of the key
            interval_width=24,
        ),
        process=build(NoteMasking, temperature=0.8),
        stages=[denoise(num_steps=4000, batch_size=32, learning_rate=1e-3)],
        sampling=Sampling(sampler="notes", num_inference_steps=120, guidance_scale=1.5, precision="auto"),
        weights="float16",
    )


def music_score() -> Recipe:
    """A score becomes sound on one of six instruments, four seconds at 24 kHz after what came before; for two cores."""
    return Recipe(
        name="music-score",
        task="music-score",
        data=build(
            ScoredSounds,
            sources=(build(RenderedScores, scores=(build(BachChorales),), instruments=(build(SoundFont),)),),
        ),
        codec=build(
            MelCodec,
            num_samples=NUM_FRAMES * 480 - 1,
            sample_rate=24_000,
            n_fft=2048,  # tells the partials of neighbouring notes apart
            hop_length=480,
            n_mels=128,
            floor=1e-2,
            vocoder="griffin-lim",
            whitening=0.5,
        ),
        conditioner=build(ScoreRoll, num_bins=128, num_frames=NUM_FRAMES),
        denoiser=build(
            Hourglass,
            sample_size=(128, NUM_FRAMES),
            cell_size=(128, 1),
            merge=(1, 4),
            cell_width=256,
            width=320,
            num_heads=5,
            condition_width=None,
            pooled_width=256,
            spatial_channels=4,
        ),
        process=preconditioned_flow(),
        stages=[denoise(num_steps=6000, batch_size=16, learning_rate=1e-3, ema_decay=0.999)],
        sampling=ten_steps(guidance_scale=1.5, precision="auto"),
        weights="float16",
    )


def debug(recipe: Recipe) -> Recipe:
    """The same from the same classes in seconds, on chorales made by rule; it composes and plays by chance."""
    if recipe.task == "music-score":
        return debug_score(recipe)
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
            "cell_width": 68,
            "width": 16,
            "depth": 1,
            "num_heads": 2,
            "interval_width": 1,
            "condition_width": 16,
            "pooled_width": 16,
        },
        sampling={"num_inference_steps": 4},
    )


def debug_score(recipe: Recipe) -> Recipe:
    """`debug` of the recipe that plays, with instruments that it makes itself."""
    grid = {"num_bins": 40, "num_frames": 32}
    recipe.data.sources[0].scores = (build(SyntheticChorales, num=8, num_bars=(2, 3)),)
    recipe.data.sources[0].instruments = (build(Partials, timbres=("organ", "guitar")),)
    bands = {"sample_rate": 8000, "n_fft": 512, "hop_length": 160, "n_mels": 40, "num_iterations": 4}
    change(recipe.codec, {"num_samples": 32 * 160 - 1, **bands})
    return shrink(
        recipe,
        data={"limit": 6, "stride": 0.3, "context": 0.2},
        conditioner={"lowest": 45, "width": 16, **grid},
        denoiser={
            "sample_size": (40, 32),
            "cell_size": (40, 1),
            "cell_width": 40,
            "num_cell_blocks": 1,
            "width": 32,
            "depth": 2,
            "num_heads": 2,
            "pooled_width": 16,
        },
        sampling={"num_inference_steps": 4},
    )
