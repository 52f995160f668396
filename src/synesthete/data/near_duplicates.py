"""Recordings that sound alike: the same music in another file, another format, another length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.waveforms import FLOOR_DB, FRAMES_PER_SECOND, NUM_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


# Cosine from which on two recordings are named, and from which on pieces of two that are named count as the same.
# Measured on 424 recordings: MP3 copies of 76 of them, at half the level and cut by up to a third of a second, had a
# piece above 0.95 in nine of ten cases; of 90,000 pairs of different recordings nine were above, strikes of one drum
# and notes of one pitch.
ALIKE, SAME = 0.95, 0.9
RANGE_DB = 50.0  # of a piece, below its loudest band, that counts
NEIGHBOURS = 9  # bands over which a band is compared with its neighbours: broad noise is like any other
PROJECTED, MARGIN = 128, 0.04  # a random projection this wide is off by 0.01: what is near is looked at in full
MAX_PROBES, PROBES_EACH = 30_000, 16
CHUNK = 2048


@dataclass(frozen=True)
class Track:
    """A recording as it is compared. profile: (T, bands) dB. frames: (n,), the frame in which each piece begins."""

    profile: Tensor
    frames: Tensor


def find_alike(
    tracks: Sequence[Track], seconds: float, report: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[int, int]]:
    """Pairs of recordings (a, b), a < b, of which one has a piece of `seconds` that sounds like one of the other.

    Of every recording up to 16 pieces, spread over it, are compared with all places of all others, at steps of a
    quarter of a second; fewer of each where there are more than 30,000 in all. Level does not matter.
    """
    width = window_frames(seconds)
    each = max(1, min(PROBES_EACH, MAX_PROBES // max(1, len(tracks))))
    owners, probes = [], []
    for number, track in enumerate(tracks):
        if len(track.frames):
            chosen = track.frames[torch.linspace(0, len(track.frames) - 1, min(each, len(track.frames))).long()]
            probes.append(fingerprints(track.profile, chosen, width))
            owners += [number] * len(chosen)
    if not probes:
        return []
    projection = torch.randn(width * NUM_BANDS, PROJECTED, generator=seeding.generator(0, "fingerprints"))
    owner, probe = torch.tensor(owners), torch.cat(probes)
    projected = F.normalize(probe @ projection)
    found: set[tuple[int, int]] = set()
    total, done = sum(num_places(track, width) for track in tracks), 0
    for numbers, places in windows(tracks, width):
        prints = torch.cat([fingerprints(tracks[n].profile, p, width) for n, p in zip(numbers, places, strict=True)])
        whose = torch.cat([torch.full_like(p, n) for n, p in zip(numbers, places, strict=True)])
        near = projected @ F.normalize(prints @ projection).T > ALIKE - MARGIN  # (probes, windows)
        near &= owner[:, None] != whose
        for row, column in near.nonzero().tolist():
            pair = (int(owner[row]), int(whose[column]))
            if (min(pair), max(pair)) not in found and probe[row] @ prints[column] > ALIKE:
                found.add((min(pair), max(pair)))
        done += sum(map(len, places))
        report(done, total)
    return sorted(found)


def alike_pieces(track: Track, others: Sequence[Track], seconds: float) -> Tensor:
    """Which pieces (n,) of a recording sound like some place of one of the others, which it is known to resemble."""
    width = window_frames(seconds)
    mine = fingerprints(track.profile, track.frames, width)
    alike = torch.zeros(len(mine), dtype=torch.bool)
    for numbers, places in windows(others, width):
        prints = torch.cat([fingerprints(others[n].profile, p, width) for n, p in zip(numbers, places, strict=True)])
        alike |= (mine @ prints.T > SAME).any(1)
    return alike


def windows(tracks: Sequence[Track], width: int) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Every place of every recording, about CHUNK at a time: numbers of recordings and, of each, first frames (n,)."""
    numbers: list[int] = []
    places: list[Tensor] = []
    for number, track in enumerate(tracks):
        if not num_places(track, width):
            continue
        for part in torch.arange(num_places(track, width)).split(CHUNK):
            numbers.append(number)
            places.append(part)
            if sum(map(len, places)) >= CHUNK:
                yield numbers, places
                numbers, places = [], []
    if numbers:
        yield numbers, places


def num_places(track: Track, width: int) -> int:
    """How many frames a window of `width` may begin at; none in a recording without pieces."""
    return max(1, len(track.profile) - width // 2 + 1) if len(track.frames) else 0


def fingerprints(profile: Tensor, frames: Tensor, width: int) -> Tensor:
    """Windows of `width` frames of a profile (T, bands) as unit vectors (n, width * bands), 0 where all is silent."""
    padded = F.pad(profile.float(), (0, 0, 0, width), value=FLOOR_DB)
    window = padded.unfold(0, width, 1)[frames.clamp(max=len(profile))].transpose(1, 2)  # (n, width, bands)
    loudest = window.amax((1, 2), keepdim=True)
    above = (window - (loudest - RANGE_DB)).clamp(min=0) * (loudest > FLOOR_DB + RANGE_DB)
    around = F.avg_pool1d(above, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)
    return F.normalize((above - around).flatten(1))


def window_frames(seconds: float) -> int:
    """Frames of a piece; of a short one and what follows it, since less than a second says too little."""
    return max(FRAMES_PER_SECOND, round(seconds * FRAMES_PER_SECOND))
