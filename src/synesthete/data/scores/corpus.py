"""Scores of four voices, split by piece and cut into windows of whole bars, as samples to compose from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.files import Split, some
from synesthete.data.samples import Samples
from synesthete.data.scores.score import BAR, KEY_NAMES, MODES, find_key, to_grid
from synesthete.data.scores.sources import ScoreFolder, ScoreSources
from synesthete.io import digest, load_or_compute
from synesthete.types import Batch, InputError, Progress, ScoreSketch

# How often what is held in training: nothing, else some voices, else some bars, else both.
HELD_SHARES = (0.5, 0.2, 0.2, 0.1)


@dataclass
class ScoreSamples(Samples):
    """Windows of scores and what belongs to each.

    grids: (n, V, 2, T) uint8 as `to_grid` has them. labels: (n,) keys, 12 * mode + tonic. begins, ends: (n,) whether
    the piece does in the window, 0 or 1. shifts: (n, 2), the least and the greatest number of semitones by which it may
    be moved. pieces: (n,), which of `names` each is a window of. augmentation: True moves each by chance.
    """

    grids: Tensor
    labels: Tensor
    begins: Tensor
    ends: Tensor
    shifts: Tensor
    pieces: Tensor
    names: tuple[str, ...]
    augmentation: Any = None
    x_0: None = None

    def take(self, places: Tensor) -> ScoreSamples:
        """These windows alone, by number or mask."""
        parts = ("grids", "labels", "begins", "ends", "shifts", "pieces")
        return replace(self, **{name: getattr(self, name)[places] for name in parts})

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The windows at `indices` (B,), each moved, and partly held, by its own draws of `generator`."""
        grids, labels = self.grids[indices], self.labels[indices]
        if self.augmentation:
            low, high = self.shifts[indices].T
            chance = torch.rand(len(indices), generator=generator)
            shift = low + (chance * (high - low + 1)).long()
            grids, labels = transpose(grids, shift), labels // 12 * 12 + (labels + shift) % 12
        num_voices, num_columns = grids.shape[1], grids.shape[-1]
        sketch = ScoreSketch(
            tonic=labels % 12,
            mode=labels // 12,
            begins=self.begins[indices],
            ends=self.ends[indices],
            voices=grids,
            held=draw_held(len(indices), num_voices, num_columns, generator),
        )
        return Batch(signal=grids, raw=sketch, label=labels)


def transpose(grids: Tensor, shift: Tensor) -> Tensor:
    """Grids (B, V, 2, T) moved by semitones (B,); rests stay rests."""
    pitch = grids[:, :, 0].long()
    moved = torch.where(pitch > 0, pitch + shift[:, None, None], 0)
    return torch.stack([moved.to(grids.dtype), grids[:, :, 1]], dim=2)


def draw_held(size: int, num_voices: int, num_columns: int, generator: torch.Generator) -> Tensor:
    """(B, V, T) of which notes are held: none, one voice or more, bars (the first few, or any), or voices and bars."""
    kind = torch.rand(size, generator=generator)
    none, voices, bars, _ = torch.tensor(HELD_SHARES).cumsum(0)
    num_held = torch.randint(1, max(num_voices, 2), (size, 1), generator=generator)
    rank = torch.rand(size, num_voices, generator=generator).argsort(1).argsort(1)
    by_voice = (rank < num_held) & (((kind >= none) & (kind < voices)) | (kind >= bars))[:, None]  # (B, V)
    num_bars = num_columns // BAR
    share = torch.rand(size, 1, generator=generator)
    first = torch.arange(num_bars) < (share * num_bars).ceil().clamp(max=num_bars - 1)
    any_ = torch.rand(size, num_bars, generator=generator) < share
    is_prefix = torch.rand(size, 1, generator=generator) < 0.5
    by_bar = torch.where(is_prefix, first, any_) & (kind >= voices)[:, None]  # (B, bars)
    by_column = by_bar.repeat_interleave(BAR, dim=1)  # (B, T)
    return by_voice[:, :, None] | by_column[:, None]


# Lowest and highest pitch that each voice sings, soprano to bass; what is transposed stays within.
RANGES = ((57, 82), (52, 77), (45, 72), (34, 67))
TUNE = 10  # notes of the highest voice by which pieces on one melody are known
HIGHEST_SHIFT = 6  # semitones up, and one less down: every key once


@dataclass
class Piece:
    """A score on its grid. grid: (V, 2, T) uint8. key: a place in `KEY_NAMES`. shifts: lowest and highest semitones."""

    name: str
    grid: Tensor
    key: int
    shifts: tuple[int, int]

    @property
    def share(self) -> float:
        """0 to 1, by its melody in whichever key: pieces on one melody have the same."""
        pitch, begins = self.grid[0].long()
        return melody_share(pitch[begins > 0].tolist())

    def content(self) -> str:
        """A name for its notes, the same in every key."""
        pitch = self.grid[:, 0].long()
        highest = int(pitch.max())
        return digest(torch.where(pitch > 0, highest - pitch, -1), self.grid[:, 1])


@dataclass(eq=False)
class Scores:
    """Scores of four voices in bars of four quarter notes, split by piece; a sample is a window of whole bars of one.

    Others are left out, which is said. The key of a piece is found by its notes, since signatures do not tell modes. A
    piece and its copies in other keys are in one split, as are pieces on one melody. Training windows are transposed by
    chance to any key in which every voice stays within its range.

    Args:
        sources: where the scores come from. folder: one's own folder of MIDI and MusicXML files, in their place.
        transposes: whether training windows are transposed.
        limit: keep only so many windows of each split, to overfit on purpose.
        test_share: of the pieces.
    """

    sources: ScoreSources = ()
    folder: str | None = None
    transposes: bool = True
    limit: int | None = None
    seed: int = 0
    test_share: float = 0.1
    class_names: tuple[str, ...] = field(default=KEY_NAMES, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise InputError(f"data.test_share {self.test_share}: give more than 0 and less than 1")
        if self.folder is not None:
            self.sources = (ScoreFolder(self.folder),)

    def pieces(self, folder: Path, progress: Progress = lambda *_: None) -> tuple[list[Piece], list[str]]:
        """All pieces that can be used, and a note on those that cannot; read once and kept in the folder.

        Raises:
            InputError: no scores, or none that can be used.
        """
        entries = [entry for source in self.sources for entry in source.scores()]
        path = folder / f"pieces-{digest([entry.stamp() for entry in entries])}.safetensors"
        kept = load_or_compute(path, lambda: read_pieces(entries, progress))
        told = json.loads(bytes(kept["told"].tolist()))
        grids = kept["grids"].split(kept["lengths"].tolist(), dim=-1) if told["names"] else []
        pieces = [
            Piece(name, grid, key, (low, high))
            for name, grid, (key, low, high) in zip(told["names"], grids, kept["keys"].tolist(), strict=True)
        ]
        if not pieces:
            why = f" ({told['notes'][0]})" if told["notes"] else ""
            raise InputError(f"no scores of four voices in 4/4 to learn from{why}; --set data.folder=FOLDER")
        return pieces, told["notes"]

    def divide(self, pieces: list[Piece]) -> dict[Split, list[Piece]]:
        """Those to train on and those held out, by melody.

        Raises:
            InputError: all pieces are on one melody.
        """
        shares = {piece.share for piece in pieces}
        least = max(self.test_share, min(shares))  # of a few pieces one melody is held out, too
        parts: dict[Split, list[Piece]] = {
            "train": [piece for piece in pieces if piece.share > least],
            "test": [piece for piece in pieces if piece.share <= least],
        }
        if not parts["train"]:
            raise InputError(f"{len(pieces)} scores on one melody; add others, since one is held out")
        return parts

    def windows(self, pieces: list[Piece], num_columns: int, *, is_training: bool) -> ScoreSamples:
        """Every window of `num_columns` that begins with a bar; a shorter piece rests after its end."""
        grids, told = [], []
        for number, piece in enumerate(pieces):
            length = piece.grid.shape[-1]
            for start in range(0, max(length - num_columns, 0) + 1, BAR):
                window = piece.grid[..., start : start + num_columns]
                grids.append(F.pad(window, (0, num_columns - window.shape[-1])))
                ends = start + num_columns >= length
                told.append([piece.key, start == 0, ends, *piece.shifts, number])
        labels, begins, ends_, low, high, numbers = torch.tensor(told).T
        shifts, names = torch.stack([low, high], dim=1), tuple(piece.name for piece in pieces)
        samples = ScoreSamples(torch.stack(grids), labels, begins, ends_, shifts, numbers, names)
        samples.augmentation = True if is_training and self.transposes else None
        if self.limit is not None and len(samples) > self.limit:
            chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(self.seed))[: self.limit]
            samples = samples.take(chosen.sort().values)
        return samples


def melody_share(pitches: Sequence[int]) -> float:
    """0 to 1, by the first intervals of a melody, which are the same in every key."""
    return int(digest([b - a for a, b in pairwise(pitches[: TUNE + 1])]), 16) / 16**12


def read_pieces(entries: list[Any], progress: Progress) -> dict[str, Any]:
    """The pieces of the entries as tensors, copies once, and JSON of names and notes as bytes."""
    grids, keys, names = [], [], []
    left_out: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        progress("scores read", number, len(entries))
        try:
            score = entry.read()
            grid = to_grid(score)
        except InputError as error:
            left_out.setdefault(str(error).removeprefix(f"{entry.name}: "), []).append(entry.name)
            continue
        low, high = shifts_within(grid)
        tonic, mode = find_key(score)
        piece = Piece(entry.name, grid, 12 * MODES.index(mode) + tonic, (low, high))
        if low > 0 or high < 0 or piece.content() in seen:
            what = "copies of others" if piece.content() in seen else "voices beyond their ranges"
            left_out.setdefault(what, []).append(entry.name)
            continue
        seen.add(piece.content())
        grids.append(grid)
        keys.append([piece.key, low, high])
        names.append(entry.name)
    notes = [f"{len(of)} scores left out: {why} ({some(of, 3)})" for why, of in left_out.items()]
    told = json.dumps({"names": names, "notes": notes}).encode()
    return {
        "grids": torch.cat(grids, dim=-1) if grids else torch.zeros(0),
        "lengths": torch.tensor([grid.shape[-1] for grid in grids], dtype=torch.int64),
        "keys": torch.tensor(keys, dtype=torch.int64).view(-1, 3),
        "told": torch.frombuffer(bytearray(told), dtype=torch.uint8),
    }


def shifts_within(grid: Tensor) -> tuple[int, int]:
    """By how many semitones, at least and at most, a grid (V, 2, T) can be moved and every voice stay in its range."""
    low, high = 1 - HIGHEST_SHIFT, HIGHEST_SHIFT
    for (lowest, highest), voice in zip(RANGES, grid[:, 0].long(), strict=True):
        sung = voice[voice > 0]
        low = max(low, lowest - int(sung.min()))
        high = min(high, highest - int(sung.max()))
    return low, high
