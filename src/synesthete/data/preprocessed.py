"""Pictures as a conditioner reads them, made one by one, each once, and kept in shards."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from synesthete.data.picture import Picture, content
from synesthete.data.rows import Rows
from synesthete.executors import How, divide_ahead
from synesthete.io import digest, load_or_compute, locked
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.types import InputError, first_line
from synesthete.worklist import Worklist

if TYPE_CHECKING:
    from synesthete.data.pictures import Pictures

SHARD_ROWS, SHARD_BYTES = 500, 2**26
BATCH_SIZE = 32
MAX_READERS = 8

logger = logging.getLogger(__name__)


@dataclass
class PreprocessedImages:
    """What a conditioner reads of the readable pictures of a split.

    rows: (n, ...). places: (n,), which of the listed pictures each shows. contents: a name for what each shows.
    skipped: the names of the others, and of what the listing left out.
    """

    rows: Rows
    places: Tensor
    contents: list[bytes]
    skipped: list[str]

    def without(self, contents: set[bytes]) -> PreprocessedImages:
        """The pictures that show none of these."""
        kept = torch.tensor([i for i, shown in enumerate(self.contents) if shown not in contents], dtype=torch.int64)
        shown = [self.contents[i] for i in kept.tolist()]
        return PreprocessedImages(self.rows.take(kept), self.places[kept], shown, self.skipped)


def preprocess_images(
    pictures: Pictures,
    conditioner: Any,
    folder: Path,
    name: str,
    *,
    looked_at: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreprocessedImages:
    """Every readable picture through `conditioner.preprocess`, and its `extract_features` where they are `looked_at`.

    A picture is read, fitted and forgotten before the next; a shard is written when it is full, and kept under a name
    that changes with its pictures. progress(done, total) counts pictures.
    """
    if not len(pictures):
        raise InputError(f"no {name.replace('-', ' of split ')}; add some")

    def report(first: int, done: int) -> None:
        if progress:
            progress(first + done, len(pictures))

    fitter = Preprocessor(conditioner, looked_at, pictures.max_pixels)
    bound = [] if pictures.max_pixels == MAX_PIXELS else [str(pictures.max_pixels)]
    size = min(SHARD_ROWS, max(1, SHARD_BYTES // fitter.row_bytes))
    jobs = []
    for first in range(0, len(pictures), size):
        files = pictures.files[first : first + size]
        stamps = digest("\n".join([*(file.stamp() for file in files), *bound]).encode(), size=8)
        jobs.append((folder / f"{name}-{first // size:05d}-{stamps}.safetensors", first, files))
    shards = []
    with locked(folder, wait=True):
        how: How = "network" if looked_at else "alone"
        worklist = Worklist(folder, name, [path for path, _, _ in jobs])
        named = {path: (path, files) for path, _, files in jobs}
        divide_ahead(partial(preprocess_shard, fitter), named, how, worklist.fail)
        for path, first, files in jobs:
            with worklist.making(path):
                shards.append(load_or_compute(path, partial(fitter, files, partial(report, first))))
            report(first, len(files))
    places = torch.cat([shard["places"] + number * size for number, shard in enumerate(shards)])
    if not len(places):
        raise InputError(f"not one of {len(pictures)} pictures is readable; the first: {fitter.reason(pictures)}")
    readable = set(places.tolist())
    unread = [file.name for place, file in enumerate(pictures.files) if place not in readable]
    contents = [bytes(row) for shard in shards for row in shard["contents"].numpy()]
    rows = Rows([shard["values"] for shard in shards])
    return PreprocessedImages(rows, places, contents, [*pictures.skipped, *unread])


def preprocess_shard(fitter: Preprocessor, job: tuple[Path, list[Picture]]) -> None:
    """Make the file of some pictures."""
    path, files = job
    load_or_compute(path, partial(fitter, files, lambda done: None))


class Preprocessor:
    """Turns pictures into the rows of a shard. row_bytes: memory of one row."""

    def __init__(self, conditioner: Any, looked_at: bool, max_pixels: int) -> None:
        self.conditioner, self.looked_at, self.max_pixels = conditioner, looked_at, max_pixels
        if looked_at:
            conditioner.eval()
        self.blank = self._see([conditioner.preprocess([Image.new("RGB", (16, 16))])])
        self.row_bytes = self.blank[0].numel() * self.blank.element_size()

    def __call__(self, files: list[Picture], report: Callable[[int], None]) -> dict[str, Tensor]:
        """{"values" (n, ...), "places" (n,) among the files, "contents" (n, 12) uint8} of the readable ones."""
        values, places, contents = [self.blank[:0]], [], []
        with ThreadPoolExecutor(min(MAX_READERS, os.cpu_count() or 1)) as readers:
            ahead = readers.map(self._fit, files[:BATCH_SIZE])
            for first in range(0, len(files), BATCH_SIZE):
                if first:
                    report(first)
                fitted = {first + i: found for i, found in enumerate(ahead) if found}
                # Read while the network is at these.
                ahead = readers.map(self._fit, files[first + BATCH_SIZE : first + 2 * BATCH_SIZE])
                if fitted:
                    values.append(self._see([raw for raw, _ in fitted.values()]))
                places += list(fitted)
                contents += [shown for _, shown in fitted.values()]
        return {
            "values": torch.cat(values),
            "places": torch.tensor(places, dtype=torch.int64),
            "contents": torch.from_numpy(np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 12).copy()),
        }

    def reason(self, pictures: Pictures) -> str:
        """Why the first picture cannot be read."""
        try:
            self.conditioner.preprocess([pictures.files[0].read(self.max_pixels)])
        except Exception as error:
            return first_line(error)
        return f"{pictures.files[0].name}: readable now, run again"

    def _fit(self, file: Picture) -> tuple[Tensor, bytes] | None:
        """One picture as the conditioner reads it (1, ...), and a name for what it shows; None if it is unreadable."""
        try:
            image = file.read(self.max_pixels)
            return self.conditioner.preprocess([image]), bytes.fromhex(content(image))
        except (InputError, OSError, ValueError, SyntaxError) as error:  # the last three: odd metadata, found late
            logger.debug("%s: skipped (%s)", file.name, error)
            return None

    @torch.no_grad()
    def _see(self, raw: list[Tensor]) -> Tensor:
        """Fitted pictures, each (1, ...), as they are kept."""
        fitted = torch.cat(raw)
        if not self.looked_at:
            return fitted
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        self.conditioner.to(device)
        return self.conditioner.extract_features(fitted.to(device)).half().cpu()
