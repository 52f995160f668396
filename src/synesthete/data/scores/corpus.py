"""Scores of four voices, split by piece and cut into windows of whole bars, as samples to compose from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.files import Split, some
from synesthete.data.scores.grid import BAR, to_grid
from synesthete.data.scores.key import KEY_NAMES, MODES, find_key
from synesthete.data.scores.samples import ScoreSamples
from synesthete.data.scores.sources import ScoreEntry, ScoreFolder, ScoreSources
from synesthete.io import digest, load_or_compute
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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


def read_pieces(entries: list[ScoreEntry], progress: Progress) -> dict[str, Any]:
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
