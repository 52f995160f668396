"""Recordings decoded once, those that sound alike found, and cut into the pieces of each split; others are said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.files import some
from synesthete.data.labelled import Part, in_turn
from synesthete.data.music import Music, MusicSamples
from synesthete.data.rows import Pieces, cut_starts
from synesthete.data.waveforms import (
    FLOOR_DB,
    FRAMES_PER_SECOND,
    LEVELS_PER_SECOND,
    NUM_BANDS,
    Waveform,
    keep_waveforms,
    shard_name,
)
from synesthete.executors import divide
from synesthete.io import digest, load_or_compute
from synesthete.types import InputError, Progress
from synesthete.worklist import Worklist

if TYPE_CHECKING:
    from synesthete.data.recordings import Recording, RecordingEntry


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
    for whose, prints in windows(tracks, width):
        near = projected @ F.normalize(prints @ projection).T > ALIKE - MARGIN  # (probes, windows)
        near &= owner[:, None] != whose
        for row, column in near.nonzero().tolist():
            pair = (int(owner[row]), int(whose[column]))
            if (min(pair), max(pair)) not in found and probe[row] @ prints[column] > ALIKE:
                found.add((min(pair), max(pair)))
        done += len(whose)
        report(done, total)
    return sorted(found)


def alike_pieces(track: Track, others: Sequence[Track], seconds: float) -> Tensor:
    """Which pieces (n,) of a recording sound like some place of one of the others, which it is known to resemble."""
    width = window_frames(seconds)
    mine = fingerprints(track.profile, track.frames, width)
    alike = torch.zeros(len(mine), dtype=torch.bool)
    for _, prints in windows(others, width):
        alike |= (mine @ prints.T > SAME).any(1)
    return alike


def windows(tracks: Sequence[Track], width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every place of every recording, about CHUNK at a time: whose it is (n,), and its fingerprint (n, D)."""
    whose, prints = list[Tensor](), list[Tensor]()
    for number, track in enumerate(tracks):
        for places in torch.arange(num_places(track, width)).split(CHUNK) if len(track.frames) else ():
            whose.append(torch.full_like(places, number))
            prints.append(fingerprints(track.profile, places, width))
            if sum(map(len, whose)) >= CHUNK:
                yield torch.cat(whose), torch.cat(prints)
                whose, prints = [], []
    if whose:
        yield torch.cat(whose), torch.cat(prints)


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


NEAR_RATE = 0.9  # of the codec's sample rate; below it, the highs of a recording are called empty
# Which split keeps what two of them have in common.
ORDER: tuple[Part, ...] = ("train", "test", "classifier")

SHARD_SECONDS = 120.0  # of recordings that are decoded into one file; a longer one is alone in its own


class Cutting:
    """Which pieces there are of each recording.

    Args:
        waveforms: the listed recordings, decoded to `sample_rate` Hz. length: of a piece, in samples.

    Attributes:
        starts: (n_i,) of each recording. skipped, notes: a line for each recording that could not be read, and for
            everything else that was left out or is odd.

    Raises:
        InputError: none of the recordings could be read.
    """

    def __init__(self, data: Music, waveforms: Sequence[Waveform], sample_rate: int, length: int) -> None:
        self.data, self.waveforms = data, waveforms
        self.sample_rate, self.length = sample_rate, length
        self.entries = data.listing.entries
        self.names = [entry.recording.name for entry in self.entries]
        unread = [waveform.note for waveform in waveforms if not len(waveform.samples)]
        self.skipped = [*data.listing.skipped, *unread]
        if len(unread) == len(waveforms):
            raise InputError(f"not one of {len(self.skipped)} recordings can be read; the first: {self.skipped[0]}")
        self.notes = list(data.listing.notes)
        self._note("skipped {} unreadable recordings: {}", self.skipped)
        self._note("{} recordings used as far as they go: {}", [w.note for w in waveforms if w.note and len(w.samples)])
        if low := [w.sample_rate for w in waveforms if 0 < w.sample_rate < NEAR_RATE * sample_rate]:
            self.notes.append(
                f"{len(low)} of {len(waveforms)} recordings have a lower sample rate than the codec's "
                f"{sample_rate} Hz, down to {min(low)} Hz: their highs are empty, as the model's will be"
            )
        self.starts = [torch.tensor(self._sound_starts(number), dtype=torch.int64) for number in range(len(waveforms))]
        kept = zip(self.names, waveforms, self.starts, strict=True)
        silent = [name for name, waveform, starts in kept if len(waveform.samples) and not len(starts)]
        self._note("nothing left of {} recordings, silent or damaged throughout: {}", silent)

    def _sound_starts(self, number: int) -> list[int]:
        """Starts of a recording's pieces that are neither silent nor damaged."""
        waveform = self.waveforms[number]
        num_samples = len(waveform.samples)
        if not num_samples:
            return []
        starts = cut_starts(num_samples, self.length, max(1, round(self.data.stride * self.sample_rate)))
        whole = [s for s in starts if not any(s < end and s + self.length > begin for begin, end in waveform.damaged)]
        if len(whole) < len(starts):
            lost = f"{len(starts) - len(whole)} of {len(starts)} pieces of {self.names[number]}"
            self.notes.append(f"{lost} left out: NaN or infinite samples")
        loud = [start for start in whole if self._level_db(waveform, start) >= self.data.silence_db]
        if not self.data.sounding:
            return loud
        return [start for start in loud if self._share_sounding(waveform, start) >= self.data.sounding]

    def _level_db(self, waveform: Waveform, start: int) -> float:
        """Root mean square of a piece as far as its recording goes, against full scale."""
        end = min(start + self.length, len(waveform.samples))
        return float(10 * torch.log10(self._energies(waveform, start).sum().double() / (end - start)))

    def _share_sounding(self, waveform: Waveform, start: int) -> float:
        """The share of a piece, with the silence behind the end of its recording, that is louder than silence."""
        hop = self.sample_rate // LEVELS_PER_SECOND
        heard = self._energies(waveform, start) > hop * 10 ** (self.data.silence_db / 10)
        return min(float(heard.sum()) * hop / self.length, 1.0)

    def _energies(self, waveform: Waveform, start: int) -> Tensor:
        end = min(start + self.length, len(waveform.samples))
        hop = self.sample_rate // LEVELS_PER_SECOND
        return waveform.energy[start // hop : max(start // hop + 1, -(-end // hop))]

    def drop_copies(self, place: Path, progress: Progress) -> None:
        """Name recordings that sound alike; leave out held-out pieces like one of another split unless all are."""
        seconds = self.length / self.sample_rate
        hop = self.sample_rate // FRAMES_PER_SECOND
        profiles = [waveform.profile for waveform in self.waveforms if waveform.profile is not None]
        tracks = [Track(p, (starts + hop // 2) // hop) for p, starts in zip(profiles, self.starts, strict=True)]
        key = digest([[entry.content for entry in self.entries], [s.tolist() for s in self.starts], seconds, ALIKE])

        def compare() -> dict[str, Tensor]:
            found = find_alike(tracks, seconds, partial(progress, "quarter seconds compared"))
            return {"pairs": torch.tensor(found, dtype=torch.int64).reshape(-1, 2)}

        pairs = load_or_compute(place / f"alike-{key}.safetensors", compare)["pairs"].tolist()
        self._note("{} pairs of recordings sound alike: {}", [f"{self.names[a]} ~ {self.names[b]}" for a, b in pairs])
        for number, part in enumerate(ORDER[1:], 1):
            kept = dict(enumerate(self.starts))
            for a in {place for pair in pairs for place in pair}:
                before = {b for pair in pairs if a in pair for b in pair if self.entries[b].part in ORDER[:number]}
                if self.entries[a].part == part and before:
                    alike = alike_pieces(tracks[a], [tracks[b] for b in sorted(before)], seconds)
                    kept[a] = self.starts[a][~alike]
            lost = sum(len(self.starts[i]) - len(kept[i]) for i in kept)
            if not lost:
                continue
            if sum(len(kept[i]) for i, entry in enumerate(self.entries) if entry.part == part):
                self.starts = [kept[i] for i in range(len(kept))]
                self.notes.append(f"{lost} pieces of split {part} left out, since another split has nearly the same")
            else:
                self.notes.append(
                    f"every piece of split {part} is nearly the same as one of another split: its figures will flatter"
                )

    def samples(self, part: Part) -> MusicSamples:
        """The pieces of a split, its recordings numbered anew, and `limit` of them where that is set."""
        mine = [i for i, entry in enumerate(self.entries) if entry.part == part]
        counts = torch.tensor([len(self.starts[i]) for i in mine], dtype=torch.int64)
        recordings = torch.arange(len(mine)).repeat_interleave(counts)
        labels = torch.tensor([self.entries[i].label for i in mine], dtype=torch.int64).repeat_interleave(counts)
        starts = torch.cat([torch.zeros(0, dtype=torch.int64), *(self.starts[i] for i in mine)])
        pieces = Pieces([self.waveforms[i].samples for i in mine], recordings, starts, self.length)
        names, seed, limit = tuple(self.names[i] for i in mine), self.data.seed, self.data.limit
        levels = [self._level_db(self.waveforms[i], start) for i in mine for start in self.starts[i].tolist()]
        samples = MusicSamples(
            pieces, labels, recordings, names, levels=torch.tensor(levels), sample_rate=self.sample_rate, seed=seed
        )
        if limit is None or len(samples) <= limit:
            return samples
        return samples.take(in_turn(samples.labels, seed)[:limit].sort().values)

    def check(self, samples: dict[Part, MusicSamples]) -> None:
        """Make sure that there is something to train on, of every class, and something held out."""
        silence = f"data.silence_db (now {self.data.silence_db:g})"
        silence += f" or data.sounding (now {self.data.sounding:g})" if self.data.sounding else ""
        if not len(samples["train"]):
            raise InputError(f"nothing to train on: every piece is quiet or damaged; lower {silence}")
        there = set(samples["train"].labels.tolist())
        for label, name in enumerate(self.data.class_names):
            if label not in there:
                raise InputError(f"nothing to train on of class {name!r}; add recordings, or lower {silence}")
        if not len(samples["test"]):
            raise InputError(
                f"nothing is held out of {len(self.entries)} recordings, and a recording is in one split alone; "
                "add another, or cut this one into two files"
            )
        if not len(samples["classifier"]):
            self.notes.append("no recordings left for the classifier alone; add some to have samples evaluated by one")

    def _note(self, text: str, names: Iterable[str]) -> None:
        names = list(names)
        if names:
            self.notes.append(text.format(len(names), some(names)))


def decode_recordings(
    entries: Sequence[RecordingEntry], folder: Path, sample_rate: int, progress: Progress, profiled: bool = True
) -> list[Waveform]:
    """Every recording decoded, in as many threads as there are cores. profiled: as `keep_waveforms`."""
    shards, seconds = {}, {}
    for group in grouped(entries):
        recordings = [entry.recording for entry in group]
        path = folder / shard_name(recordings, sample_rate)
        shards[path], seconds[path] = (path, recordings), sum(entry.seconds for entry in group)
    missing = {path: job for path, job in shards.items() if not path.is_file()}
    total, done = max(1, round(sum(seconds.values()))), sum(seconds.values()) - sum(map(seconds.__getitem__, missing))
    # Threads, not processes: decoding, resampling and transforms all run outside the interpreter's lock.
    fail = Worklist(folder, "seconds of sound decoded", shards).fail
    for path, _ in divide(partial(decode_shard, sample_rate, profiled), missing, "threads", fail=fail):
        done += seconds[path]
        progress("seconds of sound decoded", min(round(done), total), total)
    progress("seconds of sound decoded", total, total)
    return [found for job in shards.values() for found in keep_waveforms(*job, sample_rate, profiled=profiled)]


def decode_shard(sample_rate: int, profiled: bool, job: tuple[Path, Sequence[Recording]]) -> None:
    """Make a shard of recordings."""
    keep_waveforms(*job, sample_rate, profiled=profiled)


def grouped(entries: Sequence[RecordingEntry]) -> list[list[RecordingEntry]]:
    """Recordings in groups of at most SHARD_SECONDS, in their order."""
    groups: list[list[RecordingEntry]] = []
    seconds = float("inf")
    for entry in entries:
        if seconds + entry.seconds > SHARD_SECONDS:
            groups.append([])
            seconds = 0.0
        groups[-1].append(entry)
        seconds += entry.seconds
    return groups
