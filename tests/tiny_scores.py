"""A few tunes, and a recipe that plays them: 0.48 s windows at 8 kHz."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.score_roll import ScoreRoll
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.scores.performances import RenderedScores, ScoredSounds
from synesthete.data.scores.rendering import Partials
from synesthete.data.scores.score import Note, Score
from synesthete.denoisers.hourglass import Hourglass
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising

RATE, HOP, BANDS, FRAMES, LOWEST = 8000, 160, 40, 24, 48
NAMES = ("organ", "guitar")


class Tunes:
    """Tunes of one voice, four quarter notes each."""

    def __init__(self, num: int = 12) -> None:
        self.num = num

    def scores(self) -> list[Tune]:
        return [Tune(number) for number in range(self.num)]


class Tune(NamedTuple):
    number: int

    def read(self) -> Score:
        return tune(self.number)


def tune(number: int) -> Score:
    draw = random.Random(number)
    notes = (Note(draw.randrange(55, 80), float(quarter), draw.choice((0.5, 1.0))) for quarter in range(4))
    return Score(tuple(notes), title=f"tune {number}")


def tiny_scores(**rendered: Any) -> Recipe:
    """`rendered`: fields of `RenderedScores`."""
    source = {"scores": (build(Tunes),), "instruments": (build(Partials, timbres=NAMES),), **rendered}
    return Recipe(
        name="music-score-tiny",
        task="music-score",
        data=build(ScoredSounds, sources=(build(RenderedScores, **source),), stride=0.2, context=0.2),
        codec=build(
            MelCodec,
            num_samples=FRAMES * HOP - 1,
            sample_rate=RATE,
            n_fft=512,
            hop_length=HOP,
            n_mels=BANDS,
            floor=1e-2,
            vocoder="griffin-lim",
            num_iterations=4,
            whitening=0.5,
        ),
        conditioner=build(ScoreRoll, num_bins=BANDS, num_frames=FRAMES, lowest=LOWEST, width=16),
        denoiser=build(
            Hourglass,
            sample_size=(BANDS, FRAMES),
            cell_size=(BANDS, 1),
            cell_width=BANDS,
            num_cell_blocks=1,
            width=16,
            depth=1,
            num_heads=2,
            condition_width=None,
            pooled_width=16,
            spatial_channels=4,
        ),
        process=build(Process, schedule="flow", preconditioned=True),
        stages=[Stage("denoise", build(Denoising))],
        sampling=Sampling(sampler="flow-euler"),
    )
