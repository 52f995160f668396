"""What a model makes while it trains: pictures, or spectrograms and sounds, in the run folder and TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete import seeding
from synesthete.data.audio import write_audio
from synesthete.data.picture import write_picture

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.pipeline import Pipeline
    from synesthete.training.log import RunLog
    from synesthete.types import Batch

NUM_PREVIEWS = 10
GAP = 4


def write_previews(pipeline: Pipeline, batch: Batch, folder: Path, step: int, log: RunLog) -> None:
    """One sample a class on fixed noise: `step_N.png`, real above generated; any sounds in `step_N.wav`, in turn."""
    first = [int((batch.label == label).nonzero()[0]) for label in batch.label.unique()[:NUM_PREVIEWS]]
    chosen = torch.tensor(first)
    output = pipeline(batch.raw[chosen], generators=seeding.sample_generators(0, len(chosen)))
    real = pipeline.codec.pictures(encoded(pipeline.codec, batch)[chosen])
    made = pipeline.codec.pictures(output.x_0)
    sheet = contact_sheet([enlarged(real), enlarged(made)])
    write_picture(folder / f"step_{step:07d}.png", sheet)
    log.picture("preview (real above)", sheet, step)
    if not hasattr(pipeline.codec, "spec"):
        return
    waveform, sample_rate = output.signal.flatten(), pipeline.codec.spec.sample_rate
    write_audio(folder / f"step_{step:07d}.wav", waveform, sample_rate)
    log.sound("preview", waveform, sample_rate, step)


def encoded(codec: Any, batch: Batch) -> torch.Tensor:
    """x_0 of a batch (B, C, H, W), encoded now unless that was done beforehand."""
    return batch.signal if batch.encoded else codec.encode(batch.signal)


def enlarged(pictures: list[Image.Image], side: int = 64) -> list[Image.Image]:
    """Pictures of one size with every pixel as a square, so large that none of their sides is under `side`."""
    times = -(-side // min(pictures[0].size))
    return [p.resize((p.width * times, p.height * times), Image.Resampling.NEAREST) for p in pictures]


def contact_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in a grid, a gap between them; the pictures of a row are of one height, all of one width."""
    width, columns = rows[0][0].width, max(len(row) for row in rows)
    tops = [sum(row[0].height + GAP for row in rows[:y]) for y in range(len(rows) + 1)]
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, tops[-1] - GAP), "white")
    for top, row in zip(tops, rows, strict=False):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + GAP), top))
    return sheet
