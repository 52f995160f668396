"""Pieces of recordings played a little otherwise each time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import soxr
import torch
from torch.nn import functional as F

from synesthete.data.waveforms import as_float
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.pieces import Pieces


class AudioAugmentation:
    """Another pitch and speed, another level, another moment: drawn evenly, each on its own.

    Pitch and speed change together, as on a turntable, by resampling: a piece that is played faster goes on in its
    recording, so that nothing is stretched, mirrored or repeated. Silence follows where the recording ends.

    Args:
        semitones: lowest and highest shift of pitch; 12 is twice as fast. gain_db: least and most gain; less is taken
            where the sound would be clipped. shift: seconds by which the piece may begin earlier or later in its
            recording; the beginning of a recording is never cut away, but comes after some silence.
    """

    def __init__(
        self,
        semitones: tuple[float, float] = (-2.0, 2.0),
        gain_db: tuple[float, float] = (-6.0, 3.0),
        shift: float = 0.0,
    ) -> None:
        if semitones[0] > semitones[1] or gain_db[0] > gain_db[1] or shift < 0 or max(map(abs, semitones)) > 24:
            raise InputError(
                f"AudioAugmentation: semitones {semitones}, gain_db {gain_db}, shift {shift}; give the lower one "
                "first, two octaves at most, and no negative shift"
            )
        self.semitones, self.gain_db, self.shift = semitones, gain_db, shift

    def __call__(self, pieces: Pieces, place: int, sample_rate: int, generator: torch.Generator) -> Tensor:
        """One of the pieces, changed by a draw: (S,) float32 in [-1, 1]."""
        pitch, level, moment = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        speed = 2 ** (between(self.semitones, pitch) / 12)
        offset = round((2 * moment - 1) * self.shift * sample_rate)
        if int(pieces.starts[place]) == 0:
            offset = -abs(offset)
        num_samples = pieces.shape[1]
        stretch = as_float(pieces.cut(place, offset, math.ceil(num_samples * speed) + 1))
        if speed != 1:
            stretch = torch.from_numpy(soxr.resample(stretch.numpy(), speed, 1.0))
        sound = F.pad(stretch, (0, max(0, num_samples - len(stretch))))[:num_samples]
        gain = 10 ** (between(self.gain_db, level) / 20)
        return sound * min(gain, 1 / max(float(sound.abs().max()), 1e-9))


def between(bounds: tuple[float, float], share: float) -> float:
    """The number that share (0 to 1) of the way from one bound to the other."""
    return bounds[0] + (bounds[1] - bounds[0]) * share
