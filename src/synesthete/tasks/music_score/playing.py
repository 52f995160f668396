"""Scores of any length as sound by a model, window after window, each told how the one before it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.scores.performances import written
from synesthete.data.scores.rendering import TAIL
from synesthete.io import digest
from synesthete.pipeline import Canvas, Pipeline, long_form_steps
from synesthete.pipeline.canvas import Frames, find_overlap, resample
from synesthete.types import InputError, Progress, ScoreWindows

if TYPE_CHECKING:
    import numpy as np

    from synesthete.data.scores.score import Score

LONGEST = 1200.0  # seconds of one sound, which is decoded as a whole
NUM_BLENDED = 4  # frames: else the step into a window is five times that from frame to frame (mean square)


class Passage(NamedTuple):
    """What is to be played: a score, the name of an instrument or None, and how many seconds of it, all where None."""

    score: Score
    instrument: str | None = None
    seconds: float | None = None

    @property
    def length(self) -> float:
        """Seconds that it sounds, the last note dying away."""
        whole = self.score.seconds(self.score.length) + TAIL
        return whole if self.seconds is None else min(whole, self.seconds)

    @property
    def key(self) -> str:
        """A name for its notes, whoever plays them."""
        return digest(written(self.score), size=8)


class Played(NamedTuple):
    """waveform: (S,) float32 on the CPU. x_0: (C, H, T), of the same length. roll: (2, 128, T) uint8, as asked for."""

    waveform: Tensor
    x_0: Tensor
    roll: Tensor


def play_passages(
    pipeline: Pipeline, parts: Sequence[Passage], generators: Sequence[torch.Generator], **how: Any
) -> list[Played]:
    """Each of the parts as sound. Arguments as for `play_rolls`.

    Raises:
        InputError: a part without notes or longer than `LONGEST`, an instrument that the model does not have, and as
            `play_rolls`.
    """
    frames, rate = Frames.of(pipeline.codec), pipeline.codec.spec.sample_rate
    for part in parts:
        check_passage(part)
    lengths = [max(round(part.length * rate), 1) for part in parts]
    num = frames.covering(max(lengths))
    told = []
    for part, length in zip(parts, lengths, strict=True):
        roll = part.score.frames(num, frames.hop / rate)
        roll[..., frames.covering(length) :] = 0
        told.append(pipeline.conditioner.compose(roll[None], part.instrument))
    return play_rolls(pipeline, ScoreWindows.concatenate(told), lengths, generators, **how)


@torch.no_grad()
def play_rolls(
    pipeline: Pipeline,
    told: ScoreWindows,
    lengths: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    overlap: float | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> list[Played]:
    """Rolls (B, 2, 128, T) of any length as sounds of so many samples each, shorter ones silent behind their ends.

    generators: one a sound, so that a batch equals its singles. overlap: as for `long_form_steps`. progress: counts
    steps of sampling. sampling: settings that differ from the model's own.

    Raises:
        InputError: a setting of sampling that does not exist, or an overlap out of range.
    """
    codec = pipeline.codec
    frames = Frames.of(codec)
    canvas = Canvas.in_whole_windows(codec, len(told), max(lengths), find_overlap(frames, overlap))
    # The phases that a decoder begins with do not depend on how many windows there were.
    phases = [seeding.generator(one.initial_seed(), "phases") for one in generators]
    # What is known is told: nothing has to be fitted to it.
    how: dict[str, Any] = {"overlap": overlap, "num_corrections": 0, "num_blended": NUM_BLENDED, **sampling}
    for done, total in long_form_steps(pipeline, told, canvas, generators=generators, **how):
        if progress:
            progress("steps", done, total)
    assert told.roll is not None
    found = []
    for i, length in enumerate(lengths):
        num = frames.covering(length)
        x_0 = canvas.x_0[i, ..., :num]
        waveform = codec.decode(x_0[None].to(codec.device), [phases[i]], num_samples=length)[0]
        found.append(Played(waveform.float().cpu(), x_0, told.roll[i, ..., :num]))
    return found


def check_passage(part: Passage) -> None:
    """Raise InputError where a part cannot be played."""
    title = part.score.title or "a score"
    if not part.score.notes:
        raise InputError(f"{title}: no notes; give one with notes")
    if part.length > LONGEST:
        raise InputError(f"{title}: {part.length / 60:.0f} minutes; give --seconds {LONGEST:g} or less")


class ModelInstruments:
    """The instruments of a model that plays scores, as `rendering.render` takes them.

    Args:
        pipeline: the model. seed: another one plays otherwise. progress: counts steps. sampling: settings that differ
            from the model's own.
    """

    def __init__(self, pipeline: Pipeline, seed: int = 0, progress: Progress | None = None, **sampling: Any) -> None:
        self.pipeline, self.seed, self.progress, self.sampling = pipeline, seed, progress, sampling

    @property
    def names(self) -> tuple[str, ...]:
        """What the model learned to play."""
        return tuple(self.pipeline.conditioner.instruments)

    def identity(self) -> Any:
        """The model, by its weights, and the seed."""
        return [digest("music-score", self.pipeline.denoiser), self.seed, self.sampling]

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score on one of the instruments, (num_samples,) float32."""
        part = Passage(score, name, num_samples / sample_rate)
        generator = seeding.generator(self.seed, "sample", part.key)
        [made] = play_passages(self.pipeline, [part], [generator], progress=self.progress, **self.sampling)
        sound = resample(made.waveform[None], self.pipeline.codec.spec.sample_rate, sample_rate)[0, :num_samples]
        return torch.nn.functional.pad(sound, (0, num_samples - len(sound))).numpy()
