"""Stretches of performances: what is asked for, and how it sounds when it is played, of pieces held out or learned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.audio import to_int16
from synesthete.types import InputError, Progress, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.data.scores.performances import Performance

SECONDS = 8.0  # of a stretch
EACH = 2  # stretches of a performance at most


@dataclass(frozen=True)
class Stretches:
    """waveforms: (n, S) int16, as they were rendered or recorded. rolls: (n, 2, 128, T) uint8. labels: (n,)."""

    waveforms: Tensor
    rolls: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.waveforms)


def length_of(performance: Performance) -> float:
    """Seconds until the last note of a performance ends."""
    return performance.lead + performance.score.seconds(performance.score.length)


def stretch_seconds(performances: Sequence[Performance]) -> float:
    """SECONDS, or less where many performances are shorter."""
    lengths = sorted(map(length_of, performances))
    return min(SECONDS, lengths[len(lengths) // 4]) if lengths else SECONDS


def draw_stretches(
    performances: Sequence[Performance],
    names: Sequence[str],
    sample_rate: int,
    hop_length: int,
    *,
    seconds: float,
    num: int,
    seed: int,
    progress: Progress | None = None,
) -> Stretches:
    """At most `num` stretches, EACH of a performance at most, of performances that are `seconds` long.

    Each begins with a frame of the codec. Which they are depends on the seed alone.

    Raises:
        InputError: none.
    """
    lengths = [length_of(one) for one in performances]
    num_samples, frame = round(seconds * sample_rate), hop_length / sample_rate
    num_frames = num_samples // hop_length + 1
    order = torch.randperm(len(performances), generator=seeding.generator(seed, "stretches")).tolist()
    fit = [place for place in order if lengths[place] >= seconds][: max(num, 1)]
    if not fit or num_frames < 2:
        raise InputError("no performances long enough to be listened to; add pieces")
    waveforms, rolls, labels = [], [], []
    each = [min(-(-num // len(fit)), EACH, int(lengths[place] / seconds)) for place in fit]
    report = progress and partial(progress, "performances listened to")
    for place, many in counted([*zip(fit, each, strict=True)], report):
        one = performances[place]
        sound = torch.from_numpy(one.sound(sample_rate))
        room = int((lengths[place] - seconds) / frame)
        for number in range(many):
            first = room * number // max(many - 1, 1)
            part = sound[first * hop_length : first * hop_length + num_samples]
            waveforms.append(to_int16(F.pad(part, (0, num_samples - len(part)))))
            rolls.append(one.score.frames(num_frames, frame, start=first * frame - one.lead).to(torch.uint8))
            labels.append(list(names).index(one.instrument))
    return Stretches(torch.stack(waveforms)[:num], torch.stack(rolls)[:num], torch.tensor(labels)[:num])
