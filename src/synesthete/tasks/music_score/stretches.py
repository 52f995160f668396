"""Stretches of performances: what is asked for, how it sounds when it is played, and how its windows meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.audio import to_int16
from synesthete.evaluation.audio_features.spectra import frame_sizes, log_mel, parts
from synesthete.types import InputError, Progress, counted

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.data.files import Split
    from synesthete.data.scores.performances import Performance
    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.pipeline.canvas import Frames


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


def draw_stretches(
    recipe: Recipe,
    performances: Mapping[Split, Sequence[Performance]],
    split: Split,
    *,
    num: int,
    seed: int,
    progress: Progress | None = None,
) -> Stretches:
    """At most `num` stretches, EACH of a performance at most, of a split of a recipe's, drawn by the seed alone.

    They are of SECONDS, or less where many performances are shorter; as long in either split.
    """
    spec, names, chosen = recipe.codec().spec, recipe.data().class_names, performances[split]
    sample_rate, hop_length = spec.sample_rate, spec.hop_length
    every = sorted(length_of(one) for own in performances.values() for one in own)
    seconds = min(SECONDS, every[len(every) // 4]) if every else SECONDS
    lengths = [length_of(one) for one in chosen]
    num_samples, frame = round(seconds * sample_rate), hop_length / sample_rate
    num_frames = num_samples // hop_length + 1
    order = torch.randperm(len(chosen), generator=seeding.generator(seed, "stretches")).tolist()
    fit = [place for place in order if lengths[place] >= seconds][: max(num, 1)]
    if not fit or num_frames < 2:
        raise InputError("no performances long enough to be listened to; add pieces")
    waveforms, rolls, labels = [], [], []
    each = [min(-(-num // len(fit)), EACH, int(lengths[place] / seconds)) for place in fit]
    report = progress and partial(progress, "performances listened to")
    for place, many in counted([*zip(fit, each, strict=True)], report):
        one = chosen[place]
        sound = torch.from_numpy(one.sound(sample_rate))
        room = int((lengths[place] - seconds) / frame)
        for number in range(many):
            first = room * number // max(many - 1, 1)
            part = sound[first * hop_length : first * hop_length + num_samples]
            waveforms.append(to_int16(F.pad(part, (0, num_samples - len(part)))))
            rolls.append(one.score.frames(num_frames, frame, start=first * frame - one.lead).to(torch.uint8))
            labels.append(list(names).index(one.instrument))
    return Stretches(torch.stack(waveforms)[:num], torch.stack(rolls)[:num], torch.tensor(labels)[:num])


LEVEL, SPECTRUM = "level", "spectrum"
REACH = 0.08  # seconds about a border in which a jump is one of the border


def window_borders(frames: Frames, overlap: int, num_frames: int) -> list[float]:
    """Seconds of a sound of so many frames at which a window gives way to the next."""
    step = frames.whole - frames.edge - overlap
    return [frames.seconds(first) for first in range(frames.whole - frames.edge, num_frames, step)]


def jumps(sounds: Sounds, sample_rate: int) -> dict[str, Tensor]:
    """By how many dB sounds (n, S) jump from frame to frame (n, T): their level, and the mean of their bands'."""
    found: dict[str, list[Tensor]] = {LEVEL: [], SPECTRUM: []}
    for part in parts(sounds):
        levels = log_mel(part, sample_rate)  # (B, F, T)
        together = 10 * (10 ** (levels / 10)).sum(dim=1).log10()
        found[LEVEL].append(together.diff(dim=-1).abs())
        found[SPECTRUM].append(levels.diff(dim=-1).abs().mean(dim=1))
    return {name: torch.cat(values) for name, values in found.items()}


def about_borders(jumped: Tensor, borders: Sequence[float], sample_rate: int) -> tuple[Tensor, Tensor]:
    """Of jumps (n, T) the largest about each border (n, k), and about places as wide everywhere else (n, m)."""
    frame = frame_sizes(sample_rate)[1] / sample_rate
    reach = max(round(REACH / frame), 1)
    width, total = 2 * reach + 1, jumped.shape[-1]
    centres = [min(max(round(second / frame), reach), total - 1 - reach) for second in borders]
    at = torch.stack([jumped[:, c - reach : c + reach + 1].amax(dim=1) for c in centres], dim=1)
    others = [
        first
        for first in range(0, total - width + 1, width)
        if all(first + width <= c - reach or first > c + reach for c in centres)
    ]
    elsewhere = torch.stack([jumped[:, first : first + width].amax(dim=1) for first in others], dim=1)
    return at, elsewhere


def largest_of(values: Tensor, num: int) -> float:
    """The largest of `num` of the values, drawn by chance without replacement: its mean over all draws."""
    ordered = values.flatten().double().sort().values
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    num = min(num, len(ordered))
    # The share of draws all of which are among the lowest k: C(k, num) / C(len, num).
    draws = torch.lgamma(ranks + 1) - torch.lgamma((ranks - num).clamp(min=0) + 1)
    shares = torch.where(ranks >= num, (draws - draws[-1]).exp(), 0.0)
    return float((ordered * shares.diff(prepend=shares.new_zeros(1))).sum())


def over_elsewhere(at: Tensor, elsewhere: Tensor) -> dict[str, float]:
    """Jumps at borders over those elsewhere, as `about_borders` has them: their mean, and the largest of as many."""
    return {
        "mean": float(at.mean() / elsewhere.mean().clamp(min=1e-9)),
        "largest": float(at.max()) / max(largest_of(elsewhere, at.numel()), 1e-9),
    }


def butted(sounds: Tensor, others: Tensor, borders: Sequence[float], sample_rate: int) -> Tensor:
    """Sounds (n, S) that give way to others (n, S) at a border (seconds), and these to them at the next."""
    ends = torch.tensor([round(second * sample_rate) for second in borders])
    turn = torch.bucketize(torch.arange(sounds.shape[-1]), ends, right=True) % 2
    return torch.where(turn.bool(), others, sounds)
