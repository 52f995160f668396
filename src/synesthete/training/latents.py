"""A codec with an autoencoder of its own: what it is trained on, measured by, and what stages after it train on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.rows import compute_rows
from synesthete.io import digest
from synesthete.objectives import measure_round_trip
from synesthete.training.previews import write_codec_previews
from synesthete.training.run_folder import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from synesthete.training.log import RunLog
    from synesthete.types import Batch

BATCH = 16
SHARD = 512  # samples a file
NUM_MEASURED = 1024  # training samples, drawn from all, that the latents are measured on
NUM_VIEWS = 4  # of a picture that is augmented: itself, and three more


def is_learned(codec: Any) -> bool:
    """Whether what a codec makes of a signal depends on weights that a stage trains."""
    return codec.is_learned


def encoded(codec: Any, batch: Batch) -> Batch:
    """The batch with x_0 for its signals where the codec is a network, so that it is asked once."""
    if batch.encoded or not is_learned(codec):
        return batch
    return replace(batch, signal=codec.encode(batch.signal), encoded=True)


@torch.no_grad()
def measure(codec: Any, samples: Any, device: torch.device) -> None:
    """Measure the latents of a codec that has learned, so that x_0 has about zero mean and unit spread.

    samples: those it was trained on.
    """
    codec.eval()
    samples = samples.signals().plain()
    drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:NUM_MEASURED].sort().values

    def batches() -> Iterator[Tensor]:
        for places in drawn.split(BATCH):
            yield samples.batch(places, torch.Generator().manual_seed(0)).signal.to(device)

    codec.whiten(batches())


@torch.no_grad()
def precompute_latents(
    codec: Any,
    samples: Any,
    folder: Path,
    *,
    num_views: int,
    device: torch.device,
    report: Callable[[int, int], None],
) -> Any:
    """The samples with x_0 of the trained codec (n, V, c, h, w), in half precision, in files named by its weights.

    A batch takes one of V views by chance: the sample as it is, and augmented where there is an augmentation.
    report(done, total) in samples.
    """
    codec.eval()
    samples = samples.signals()
    num_views = num_views if samples.augmentation else 1
    name = digest(codec, len(samples), num_views)

    def encode(places: Tensor) -> Tensor:
        return torch.cat(
            [samples.encode(codec, part, num_views, at_once=BATCH, device=device) for part in places.split(BATCH)]
        )

    rows = compute_rows(
        len(samples),
        SHARD,
        lambda number, _: folder / f"{name}-{number:05d}.safetensors",
        encode,
        report,
        around=processes().main_process_first,
    )
    return replace(samples, x_0=rows)


@torch.no_grad()
def validate_codec(codec: Any, held_out: Batch, folder: Path, step: int, log: RunLog) -> list[str]:
    """Previews, real above restored, and the round trip of held-out signals (B, ...), logged and in plain words."""
    found = measure_round_trip(codec, held_out.signal)
    log.write(step, round_trip=found.error, round_trip_floor=found.floor)
    write_codec_previews(codec, held_out, folder, step, log)
    return [f"held out: {found}"]
