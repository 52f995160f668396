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

    from torch import Tensor

    from synesthete.pipeline import Pipeline
    from synesthete.training.run_log import RunLog
    from synesthete.types import Batch

NUM_PREVIEWS = 10
NUM_ALIKE = 4
GAP = 4


def write_previews(
    pipeline: Pipeline, batch: Batch, folder: Path, step: int, log: RunLog
) -> tuple[Tensor, Tensor | None]:
    """One sample a class on fixed noise: `step_N.png`, real above generated; any sounds in `step_N.wav`, in turn.

    Returns the sampled x_0 and its signal, which is None, as the files are, where x_0 is not finite.
    """
    chosen = one_of_each(batch.label)
    generators = seeding.sample_generators(0, len(chosen))
    *_, x_0 = pipeline.trajectory(batch.raw[chosen], generators=generators)
    if not torch.isfinite(x_0).all():
        return x_0, None
    signal = pipeline.codec.decode(x_0, generators)
    real = pipeline.codec.pictures(encoded(pipeline.codec, batch)[chosen])
    made = pipeline.codec.pictures(x_0)
    sheet = contact_sheet([enlarge_preview(real), enlarge_preview(made)])
    write_picture(folder / f"step_{step:07d}.png", sheet)
    log.picture("preview (real above)", sheet, step)
    if pipeline.codec.spec is None:
        return x_0, signal
    waveform, sample_rate = signal.flatten(), pipeline.codec.spec.sample_rate
    write_audio(folder / f"step_{step:07d}.wav", waveform, sample_rate)
    log.sound("preview", waveform, sample_rate, step)
    return x_0, signal


def write_codec_previews(codec: Any, batch: Batch, folder: Path, step: int, log: RunLog) -> None:
    """What latents keep of one signal a class: `restored_N.png`, real above restored; sounds in `restored_N.wav`."""
    signal = batch.signal[one_of_each(batch.label)]
    x_0 = codec.encode(signal)
    rows = [codec.base.pictures(codec.signal_grid(signal)), codec.pictures(x_0)]
    sheet = contact_sheet([enlarge_preview(row) for row in rows])
    write_picture(folder / f"restored_{step:07d}.png", sheet)
    log.picture("restored (real above)", sheet, step)
    if codec.spec is not None:
        waveform = codec.decode(x_0, seeding.sample_generators(0, len(x_0))).flatten()
        write_audio(folder / f"restored_{step:07d}.wav", waveform, codec.spec.sample_rate)
        log.sound("restored", waveform, codec.spec.sample_rate, step)


def one_of_each(label: Tensor) -> Tensor:
    """Places of the first sample of each label (B,), of no more than NUM_PREVIEWS; of a few where all are alike."""
    found = label.unique()
    if len(found) == 1:
        return torch.arange(min(len(label), NUM_ALIKE))
    return torch.tensor([int((label == one).nonzero()[0]) for one in found[:NUM_PREVIEWS]])


def encoded(codec: Any, batch: Batch) -> torch.Tensor:
    """x_0 of a batch (B, C, H, W), encoded now unless that was done beforehand."""
    return batch.signal if batch.encoded else codec.encode(batch.signal)


def enlarge_preview(pictures: list[Image.Image], side: int = 64) -> list[Image.Image]:
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
