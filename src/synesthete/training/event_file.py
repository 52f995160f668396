"""What TensorBoard reads: figures, pictures and sounds of a run."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

logger = logging.getLogger(__name__)


def open_event_file(folder: Path, first_step: int) -> EventFile | None:
    """A new event file in `folder`, or None, which is said, where tensorboard is not installed."""
    try:
        return EventFile(folder, first_step)
    except ImportError:
        logger.info("tensorboard is not installed; the figures are in metrics.jsonl alone")
        return None


class EventFile:
    """One event file. torch's `SummaryWriter` would write the machine's name into that of the file.

    first_step: the last one before; what an earlier file says of later ones is forgotten.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # Here: training does not need it.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event, self._summary = Event, summary
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.{first_step:07d}"
        self._records = RecordWriter(path.open("ab"))
        self._write(file_version="brain.Event:2")
        self._write(step=first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A figure."""
        self._write(step=step, summary=self._summary.scalar(name, value))

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """A picture of any mode."""
        values = np.asarray(image.convert("RGB"))
        self._write(step=step, summary=self._summary.image(name, values, dataformats="HWC"))

    def sound(self, name: str, waveform: torch.Tensor, sample_rate: int, step: int) -> None:
        """A sound: waveform (S,) in [-1, 1]."""
        values = waveform.clamp(-1, 1)[None]
        self._write(step=step, summary=self._summary.audio(name, values, sample_rate=sample_rate))

    def close(self) -> None:
        """No more is written."""
        self._records.close()

    def _write(self, **fields: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()
