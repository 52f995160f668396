"""Scores and the sound of each, rendered or recorded and written down by somebody else, and windows of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.config import is_a
from synesthete.data.audio import SoundFile
from synesthete.data.files import SourceFile, Split, legible, list_files, some
from synesthete.data.recordings import Recordings
from synesthete.data.samples import Samples
from synesthete.data.scores.corpus import melody_share
from synesthete.data.scores.midi import read_midi
from synesthete.data.scores.rendering import render
from synesthete.data.scores.sources import MIDI, ScoreSources
from synesthete.io import digest
from synesthete.types import Batch, InputError, ScoreWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.data.scores.score import Score

InstrumentSources = tuple[Annotated[Any, is_a("set of instruments", "play", "identity")], ...]
LONGEST_LEAD = 0.5  # seconds of silence before a rendered piece


@dataclass
class Performance:
    """A score, and what it sounds like.

    name: for people. score: at its tempo. lead: seconds of the sound before it begins. instrument: by name. split: that
    of the piece in all its keys. stamp: another whenever score or sound are. sound(sample_rate): (S,) float32 in
    [-1, 1], always the same, or InputError.
    """

    name: str
    score: Score
    lead: float
    instrument: str
    split: Split
    stamp: str
    sound: Callable[[int], np.ndarray] = field(repr=False)


def read_performance(path: Path, sample_rate: int) -> np.ndarray:
    """A recording, mono, (S,) float32 in [-1, 1]."""
    with SoundFile(path) as file:
        sound, rate = np.concatenate([block.mean(axis=1) for block in file.blocks()]), file.sample_rate
    if not np.isfinite(sound).all():
        raise InputError(f"{file.name}: NaN or infinite samples; mend or remove it")
    moved = sound if rate == sample_rate else soxr.resample(sound, rate, sample_rate)
    return np.clip(moved, -1, 1).astype(np.float32)


class RenderedScores:
    """Scores played by instruments, each in some takes: on another instrument, in another key, at another tempo.

    Args:
        scores: where the scores come from. instruments: what plays them; where several have an instrument of one name,
            any of these plays.
        takes: of each piece. transpositions: lowest and highest, in semitones. tempos: slowest and fastest, in quarter
            notes a minute, one throughout; None leaves them as they are written.
        test_share: of the pieces, by their melodies in whichever key.

    Attributes:
        notes: lines on scores that were left out, after `performances`.
    """

    def __init__(
        self,
        scores: ScoreSources = (),
        instruments: InstrumentSources = (),
        takes: int = 1,
        transpositions: tuple[int, int] = (-3, 3),
        tempos: tuple[float, float] | None = (60.0, 130.0),
        test_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        if takes < 1 or not -24 <= transpositions[0] <= transpositions[1] <= 24 or not 0 < test_share < 1:
            raise InputError(
                f"RenderedScores: {takes} takes, transpositions {transpositions}, test_share {test_share}; give 1 or "
                "more, the lower one first (two octaves at most), and a share between 0 and 1"
            )
        if tempos is not None and not 10 <= tempos[0] <= tempos[1] <= 400:
            raise InputError(
                f"RenderedScores: tempos {tempos}; give 10 to 400 quarter notes a minute, the slower first"
            )
        self.scores, self.instruments, self.takes = scores, instruments, takes
        self.transpositions, self.tempos, self.test_share, self.seed = transpositions, tempos, test_share, seed
        self.notes: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The instruments, in the order of their numbers."""
        return tuple(dict.fromkeys(name for one in self.instruments for name in one.names))

    @cached_property
    def _identities(self) -> list[str]:
        return [digest([one.identity()]) for one in self.instruments]

    def performances(self) -> list[Performance]:
        """Every take of every piece.

        Raises:
            InputError: no instruments, or no scores.
        """
        if not self.names:
            raise InputError("no instruments to play the scores on; give data.sources some")
        pieces = self._pieces()
        splits = divide_pieces(list(pieces.values()), self.test_share)
        found: list[Performance] = []
        for (content, score), split in zip(pieces.items(), splits, strict=True):
            found += [self._take(content, score, split, number) for number in range(self.takes)]
        return found

    def _pieces(self) -> dict[str, Score]:
        """Every score once, by its content."""
        pieces: dict[str, Score] = {}
        unread: list[str] = []
        for entry in (entry for source in self.scores for entry in source.scores()):
            try:
                score = entry.read()
            except InputError as error:
                unread.append(str(error))
                continue
            if score.notes:
                pieces.setdefault(content_of(score), score)
        if not pieces:
            why = f" ({unread[0]})" if unread else ""
            raise InputError(f"no scores to be played{why}; give data.sources some")
        self.notes = [f"{len(unread)} scores left out: {some(unread, 3)}"] if unread else []
        return pieces

    def _take(self, content: str, score: Score, split: Split, number: int) -> Performance:
        """One of the takes of a piece; what is drawn depends on the piece and its number alone."""
        draw = np.random.default_rng(seeding.derive(self.seed, "take", content, number))
        name = self.names[draw.integers(len(self.names))]
        able = [place for place, one in enumerate(self.instruments) if name in one.names]
        place = able[draw.integers(len(able))]
        pitches = [note.pitch for note in score.notes]
        low, high = max(self.transpositions[0], -min(pitches)), min(self.transpositions[1], 127 - max(pitches))
        played = score.transposed(int(draw.integers(low, high + 1)))
        if self.tempos is not None:
            played = played.at_tempo(round(float(draw.uniform(*self.tempos)), 1))
        lead = float(draw.uniform(0, LONGEST_LEAD))
        stamp = digest([self._identities[place], written(played), lead, name])
        title = f"{score.title or content}, take {number + 1}, {name}"
        sound = partial(render, played, self.instruments[place], name, lead=lead)
        return Performance(title, played, lead, name, split, stamp, sound)


class RecordedScores:
    """A folder of recordings, each beside a MIDI file of the same name that says what is played, from the start.

    Args:
        path: the folder, with a folder for each instrument, or all in one.
        test_share: of the pieces.
    """

    def __init__(self, path: str | None = None, test_share: float = 0.1) -> None:
        self.path, self.test_share = path, test_share
        self.notes: list[str] = []

    @cached_property
    def _pairs(self) -> list[tuple[str, Path, Path]]:
        """Instrument, recording and MIDI file of each pair."""
        if self.path is None:
            return []
        root = Path(self.path)
        written = {path.with_suffix(""): path for path in (list_files(root, MIDI) if root.is_dir() else [])}
        found = []
        for recording in Recordings(self.path).recordings():
            path = root / recording.place
            if path.with_suffix("") in written:
                name = legible(path.parent.name if path.parent != root else "recorded")
                found.append((name, path, written[path.with_suffix("")]))
        if not found:
            raise InputError(f"{self.path}: no recording with a MIDI file of the same name beside it (.mid); add some")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The folders that recordings are in."""
        return tuple(sorted({name for name, _, _ in self._pairs}))

    def performances(self) -> list[Performance]:
        """Every pair.

        Raises:
            InputError: none, or a MIDI file that cannot be read.
        """
        read = [(name, path, read_midi(midi)) for name, path, midi in self._pairs]
        splits = divide_pieces([score for *_, score in read], self.test_share)
        found = []
        for (name, path, score), split in zip(read, splits, strict=True):
            stamp = digest([SourceFile(str(path)).stamp(), written(score)])
            sound = partial(read_performance, path)
            found.append(Performance(legible(str(path)), score, 0.0, name, split, stamp, sound))
        return found


def written(score: Score) -> Any:
    """All that decides when which note sounds, as plain values."""
    return [[[n.pitch, n.start, n.duration, n.velocity, n.voice] for n in score.notes], [list(t) for t in score.tempos]]


def content_of(score: Score) -> str:
    """A name for a piece: the same in all keys and tempos."""
    lowest = min(note.pitch for note in score.notes)
    return digest([[note.pitch - lowest, note.start, note.duration] for note in score.notes], size=12)


def divide_pieces(scores: Sequence[Score], test_share: float) -> list[Split]:
    """The split of each, by how its highest voice begins: that which `Scores` has it in, whatever others there are.

    One melody at least is held out, and of two or more one left to train on.
    """
    voices = [
        [[n.pitch for n in score.notes if n.voice == voice] for voice in {n.voice for n in score.notes}]
        for score in scores
    ]
    shares = [melody_share(max(each, key=lambda pitches: sum(pitches) / len(pitches))) for each in voices]
    least = max(test_share, min(shares))
    if len(set(shares)) > 1:
        least = min(least, sorted(set(shares))[-2])
    return ["test" if share <= least else "train" for share in shares]


PerformanceSources = tuple[Annotated[Any, is_a("source of sounds with scores", "performances", "names")], ...]
CONTINUED = 0.5  # share of the samples that are told how they begin
SOUNDS, BEGINS = 1, 2  # bits of a packed roll


class ScoredSounds:
    """Performances, of which windows of the codec's length are learned from.

    Args:
        sources: where they come from.
        stride: seconds between the starts of windows; in training each begins up to half of it earlier or later.
        context: the most seconds of a window that are told beforehand, as the end of the one before it is.
        limit: keep only so many performances of each split, to overfit on purpose.

    Attributes:
        notes: lines on what was left out, after `performances`.
    """

    def __init__(
        self,
        sources: PerformanceSources = (),
        stride: float = 2.0,
        context: float = 1.0,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        if not (stride > 0 and context >= 0) or (limit is not None and limit < 1):
            raise InputError(f"data: stride {stride} s, context {context} s, limit {limit}; give a stride above 0")
        self.notes: list[str] = []
        self.sources, self.stride, self.context, self.limit, self.seed = sources, stride, context, limit, seed

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The instruments of all sources, in the order of their numbers.

        Raises:
            InputError: none.
        """
        names = tuple(dict.fromkeys(name for source in self.sources for name in source.names))
        if not names:
            raise InputError("no sounds with scores to train on; give data.sources some")
        return names

    def performances(self) -> dict[Split, list[Performance]]:
        """The performances of each split, in an order that does not depend on where they are from.

        Raises:
            InputError: none, or nothing held out.
        """
        found: dict[Split, list[Performance]] = {"train": [], "test": []}
        every = [one for source in self.sources for one in source.performances()]
        for one in sorted(every, key=lambda one: seeding.derive(self.seed, "order", one.stamp)):
            found[one.split].append(one)
        self.notes = [note for source in self.sources for note in source.notes]
        for split, chosen in found.items():
            if not chosen:
                raise InputError(f"no performance of split {split} among {len(every)}; add pieces")
            found[split] = chosen[: self.limit]
        return found


@dataclass
class PerformanceSamples(Samples):
    """Windows of encoded performances, and the scores of each.

    encoded: x_0 of each performance, (T_i, C, H) float16 on disk; rolls: (T_i, 128) uint8, bit 1 where a pitch sounds,
    bit 2 where it begins. performances, starts: (n,), the performance and first frame of each window of `num_frames`.
    labels: (n,), the instrument. silence: (C, H), what follows where a performance ends. frame_seconds: from one frame
    to the next. names: of the performances. jitter: frames by which a window begins earlier or later, by chance;
    context: the most frames that are known; None: none.
    """

    encoded: tuple[Tensor, ...]
    rolls: tuple[Tensor, ...]
    performances: Tensor
    starts: Tensor
    labels: Tensor
    silence: Tensor
    num_frames: int
    frame_seconds: float
    names: tuple[str, ...] = ()
    jitter: int | None = None
    context: int | None = None
    augmentation: None = None
    x_0: None = None
    augmentations: ClassVar[tuple[str, ...]] = ("jitter",)

    @property
    def seconds(self) -> float:
        """Of all performances."""
        return sum(len(one) for one in self.encoded) * self.frame_seconds

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """The windows at `indices` (B,), moved by chance, half of them with as many frames known as chance will."""
        size, starts = len(indices), self.starts[indices]
        if self.jitter:
            moved = starts + torch.randint(-self.jitter, self.jitter + 1, (size,), generator=generator)
            last = torch.tensor([max(len(self.encoded[i]) - self.num_frames, 0) for i in self.performances[indices]])
            starts = moved.clamp(min=0).minimum(last)
        known = torch.zeros(size, self.num_frames, dtype=torch.bool)
        if self.context:
            num = torch.randint(1, self.context + 1, (size,), generator=generator)
            num = num.where(torch.rand(size, generator=generator) < CONTINUED, 0)
            known = torch.arange(self.num_frames) < num[:, None]
        cut = [self.window(int(i), int(first)) for i, first in zip(self.performances[indices], starts, strict=True)]
        x_0, roll = (torch.stack(parts) for parts in zip(*cut, strict=True))
        labels = self.labels[indices]
        before = x_0 * known[:, None, None]  # what is not known stays unseen whatever reads it
        return Batch(signal=x_0, raw=ScoreWindows(roll, labels, before, known), label=labels, encoded=True)

    def window(self, performance: int, first: int) -> tuple[Tensor, Tensor]:
        """x_0 (C, H, T) float32 and the roll (2, 128, T) uint8 of a performance from a frame on."""
        part = slice(first, first + self.num_frames)
        x_0, roll = self.encoded[performance][part].float(), self.rolls[performance][part]
        missing = self.num_frames - len(x_0)
        if missing:
            x_0 = torch.cat([x_0, self.silence.float().expand(missing, *self.silence.shape)])
            roll = F.pad(roll, (0, 0, 0, missing))
        return x_0.permute(1, 2, 0), unpacked(roll)


def packed(roll: Tensor) -> Tensor:
    """(2, P, T) of 0 and 1 -> (T, P) uint8."""
    sounds, begins = roll.to(torch.uint8)
    return (SOUNDS * sounds + BEGINS * begins).T.contiguous()


def unpacked(roll: Tensor) -> Tensor:
    """The inverse of `packed`, uint8."""
    return torch.stack([(roll & SOUNDS).bool(), (roll & BEGINS).bool()]).to(torch.uint8).transpose(1, 2)


def place_windows(num_total: int, num_frames: int, stride: int) -> Tensor:
    """Where windows begin in a performance, `stride` apart, the last where a window ends with it."""
    last = max(num_total - num_frames, 0)
    starts = torch.arange(0, last + 1, stride)
    return starts if int(starts[-1]) == last else torch.cat([starts, torch.tensor([last])])
