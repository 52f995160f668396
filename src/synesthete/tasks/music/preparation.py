"""Music: recordings decoded once, cut into pieces, measured, and encoded where the codec is not trained."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.config import plain
from synesthete.data.labelled import PARTS
from synesthete.data.rows import compute_rows
from synesthete.data.waveforms import keep_waveforms, shard_name
from synesthete.io import alone, digest, load_or_compute
from synesthete.tasks.images.preparation import check_conditioner
from synesthete.tasks.music.cutting import Cutting, say_all
from synesthete.types import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.data.labelled import Part
    from synesthete.data.music import Music, MusicSamples
    from synesthete.data.recordings import RecordingEntry
    from synesthete.data.waveforms import Waveform
    from synesthete.types import Progress

BATCH = 64  # pieces that are encoded at once, and the rows of a shard
SHARD_SECONDS = 120.0  # of recordings that are decoded into one file; a longer one is alone in its own
NUM_MEASURED = 2048  # training pieces, drawn from all, that the codec is measured on

logger = logging.getLogger(__name__)


@alone(lambda recipe, folder=None, progress=None: folder or default_folder(recipe))
def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Decode every recording, cut it, measure the codec on the training pieces and encode them; what is there is kept.

    A recipe with a stage that trains the codec gets waveforms alone, since what is encoded would change under it.

    Raises:
        InputError: whatever is wrong with the data, in one line.
    """
    data: Music = recipe.data()
    codec, place = recipe.codec(), folder or default_folder(recipe)
    entries = data.listing.entries
    waveforms = decode(entries, place / "recordings", codec.spec.sample_rate, progress)
    cutting = Cutting(data, waveforms, codec.spec.sample_rate, codec.config.num_samples)
    cutting.drop_copies(place, progress)
    samples = {part: cutting.samples(part) for part in PARTS}
    cutting.check(samples)
    check_conditioner(recipe, data.class_names, "recordings")
    for found in samples.values():
        found.reads = "sound" if recipe.conditioner.target.reads == "sound" else "label"
    samples["train"].augmentation = data.augmentation
    key = digest([plain(recipe.codec), identity(samples["train"])])
    statistics = load_or_compute(place / f"statistics-{key}.safetensors", partial(_statistics, codec, samples["train"]))
    notes = cutting.notes
    if not any("codec" in stage.train for stage in recipe.stages):
        codec.load_state_dict(statistics)
        if data.augmentation and data.num_views == 1:
            notes.append("data.augmentation is left out, since sounds are encoded once; --set data.num_views=4")
        for part in ("train", "test"):  # a classifier listens to the sounds themselves
            encode_once(recipe, codec, samples[part], place, part, key, progress)
    say_all(notes)
    return Prepared(
        samples["train"],
        samples["test"],
        statistics,
        data.class_names,
        tuple(notes),
        tuple(cutting.skipped),
        classifier=samples["classifier"],
    )


def decode(
    entries: Sequence[RecordingEntry], folder: Path, sample_rate: int, progress: Progress | None, profiled: bool = True
) -> list[Waveform]:
    """Every recording decoded, in as many threads as there are cores. profiled: as `keep_waveforms`.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    total, done, lock = max(1, round(sum(entry.seconds for entry in entries))), 0.0, threading.Lock()
    stopped = threading.Event()

    def report(seconds: float) -> None:
        nonlocal done
        if stopped.is_set():
            raise InterruptedError
        with lock:
            done += seconds
            if progress:
                progress("seconds of sound decoded", min(round(done), total), total)

    def work(group: Sequence[RecordingEntry]) -> list[Waveform]:
        recordings = [entry.recording for entry in group]
        path = folder / shard_name(recordings, sample_rate)
        return keep_waveforms(path, recordings, sample_rate, report, profiled)

    # Threads, not processes: decoding, resampling and transforms all run outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            return [waveform for shard in pool.map(work, grouped(entries)) for waveform in shard]
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


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


def encode_once(
    recipe: Recipe, codec: Any, samples: MusicSamples, place: Path, part: Part, key: str, progress: Progress | None
) -> None:
    """Give the samples their x_0 (n, V, C, H, W), in half precision, a shard of BATCH pieces at a time."""
    num_views = recipe.data.num_views if samples.augmentation else 1
    varied = [plain(recipe.data.augmentation), num_views, samples.seed] if num_views > 1 else []
    folder = place / f"latents-{part}-{digest([key, identity(samples), varied])}"
    samples.x_0 = compute_rows(
        len(samples),
        BATCH,
        lambda number, _: folder / f"{number:05d}.safetensors",
        lambda places: samples.encode(codec, places, num_views, at_once=BATCH),
        partial(progress, f"pieces encoded, {part}") if progress else lambda done, total: None,
    )


def identity(samples: MusicSamples) -> str:
    """A name for which pieces of which sounds these are."""
    pieces: Any = samples.waveforms
    sounds = [[name, len(sound)] for name, sound in zip(samples.recording_names, pieces.sounds, strict=True)]
    return digest([sounds, pieces.recordings.tolist(), pieces.starts.tolist(), list(pieces.shape)])


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for recordings at this recipe's sample rate."""
    return hub.cache_folder() / "prepared" / f"music-{recipe.codec().spec.sample_rate}"


class Batches:
    """Some of the pieces as batches of waveforms (B, S), which may be gone through more than once."""

    def __init__(self, samples: MusicSamples, places: Tensor) -> None:
        self.samples, self.places = samples, places.split(BATCH)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Tensor]:
        return (self.samples.waveform(places) for places in self.places)


def _statistics(codec: Any, samples: MusicSamples) -> dict[str, Tensor]:
    drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:NUM_MEASURED]
    codec.fit(Batches(samples, drawn.sort().values))
    return {name: value.clone() for name, value in codec.state_dict().items()}
