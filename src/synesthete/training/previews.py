"""What a model makes while it trains: pictures, or spectrograms and sounds, in the run folder and TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from synesthete import seeding
from synesthete.codecs.codec import enlarged
from synesthete.data.audio import write_audio
from synesthete.data.picture import write_picture

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.pipeline import Pipeline
    from synesthete.training.run_log import RunLog
    from synesthete.types import Batch

NUM_PREVIEWS = 10
NUM_ALIKE = 4
SIDE = 64  # pixels that no side of a picture is under, every pixel as a square
GAP = 4


def write_previews(
    pipeline: Pipeline, batch: Batch, folder: Path, step: int, log: RunLog
) -> tuple[Tensor, Tensor | None]:
    """One sample a class on fixed noise: `step_N.png`, real above generated; any sounds in `step_N.wav`, in turn.

    What the conditioner can draw of what it was told is above both.

    Returns the sampled x_0 and its signal, which is None, as the files are, where x_0 is not finite.
    """
    codec, chosen = pipeline.codec, one_of_each(batch.label)
    generators = seeding.sample_generators(0, len(chosen))
    told = batch.raw[chosen]
    *_, x_0 = pipeline.trajectory(told, generators=generators)
    if not torch.isfinite(x_0).all():
        return x_0, None
    signal = codec.decode(x_0, generators)
    rows = [pipeline.conditioner.pictures(told), codec.pictures(batch.encode(codec)[chosen]), codec.pictures(x_0)]
    write_pair(codec, [row for row in rows if row], signal, folder / f"step_{step:07d}", "preview", step, log)
    return x_0, signal


def write_codec_previews(codec: Any, batch: Batch, folder: Path, step: int, log: RunLog) -> None:
    """What latents keep of one signal a class: `restored_N.png`, real above restored; sounds in `restored_N.wav`."""
    signal = batch.signal[one_of_each(batch.label)]
    x_0 = codec.encode(signal)
    rows = [codec.base.pictures(codec.signal_grid(signal)), codec.pictures(x_0)]
    restored = None if codec.spec is None else codec.decode(x_0, seeding.sample_generators(0, len(x_0)))
    write_pair(codec, rows, restored, folder / f"restored_{step:07d}", "restored", step, log)


def write_pair(
    codec: Any, rows: list[list[Image.Image]], made: Tensor | None, place: Path, name: str, step: int, log: RunLog
) -> None:
    """Rows of pictures, and what was made where that is sound, to `place` and the log."""
    sheet = contact_sheet([enlarged(row, -(-SIDE // min(row[0].size))) for row in rows])
    write_picture(place.with_suffix(".png"), sheet)
    log.picture(f"{name} (real above)", sheet, step)
    if made is not None and codec.spec is not None:
        waveform, sample_rate = made.flatten(), codec.spec.sample_rate
        write_audio(place.with_suffix(".wav"), waveform, sample_rate)
        log.sound(name, waveform, sample_rate, step)


def one_of_each(label: Tensor) -> Tensor:
    """Places of the first sample of each label (B,), of no more than NUM_PREVIEWS; of a few where all are alike."""
    found = label.unique()
    if len(found) == 1:
        return torch.arange(min(len(label), NUM_ALIKE))
    return torch.tensor([int((label == one).nonzero()[0]) for one in found[:NUM_PREVIEWS]])


def contact_sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in a grid, a gap between them; the pictures of a row are of one height, all of one width."""
    width, columns = rows[0][0].width, max(len(row) for row in rows)
    tops = [sum(row[0].height + GAP for row in rows[:y]) for y in range(len(rows) + 1)]
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, tops[-1] - GAP), "white")
    for top, row in zip(tops, rows, strict=False):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + GAP), top))
    return sheet
