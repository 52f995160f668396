"""Notes as basic-pitch hears them, a published transcriber of any instrument (Bittner et al. 2022, Apache-2.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synesthete.data.audio import as_float
from synesthete.evaluation.audio_features.notes import FRAME, NUM_KEYS, Heard
from synesthete.pipeline.canvas import resample
from synesthete.types import InputError, counted, first_line

RATE, HOP = 22_050, 256  # of what it reads
SIZE, EDGE = 43_844, 15  # samples of a window, and frames at either end of it that are left out
STRIDE = SIZE - 2 * EDGE * HOP
FILE = "nmp.onnx"
INPUT, OUTPUTS = "serving_default_input_2:0", ("StatefulPartitionedCall:1", "StatefulPartitionedCall:2")


class BasicPitch:
    """A `NoteListener` by the network of the basic-pitch package.

    Args:
        path: `nmp.onnx`, or a folder with it in it or below.

    Raises:
        InputError: no such file, one that is none, or without onnxruntime.
    """

    name = "basic-pitch"
    thresholds = (0.3, 0.5)  # its own

    def __init__(self, path: str | Path) -> None:
        given = Path(path).expanduser()
        found = sorted(given.rglob(FILE)) if given.is_dir() else [given] if given.is_file() else []
        if not found:
            raise InputError(f"{path}: no {FILE} there; give the folder of the basic-pitch package")
        try:
            import onnxruntime
        except ImportError:
            raise InputError("basic-pitch needs onnxruntime; pip install 'synesthete[quality]'") from None
        try:
            self.session = onnxruntime.InferenceSession(str(found[0]), providers=["CPUExecutionProvider"])
            self._run(np.zeros(SIZE, np.float32))
        except Exception as error:  # whatever a damaged file makes onnxruntime say
            raise InputError(f"{found[0]}: not basic-pitch's network ({first_line(error)})") from None

    def _run(self, window: np.ndarray) -> np.ndarray:
        """Samples (SIZE,) -> (2, T, NUM_KEYS): sounds, begins."""
        made = self.session.run(list(OUTPUTS), {INPUT: window[None, :, None]})
        return np.stack(made)[:, 0]

    def hear(self, waveforms: Tensor, sample_rate: int, progress: Any = None) -> Heard:
        """As of every `NoteListener`."""
        each = (as_float(waveform[None].cpu()) for waveform in counted(waveforms, progress))
        found = [self._hear_one(resample(sound, sample_rate, RATE)[0].numpy()) for sound in each]
        sounds, begins = torch.stack(found).unbind(dim=1)
        return Heard(sounds, begins)

    def _hear_one(self, sound: np.ndarray) -> Tensor:
        """(2, NUM_KEYS, T) on FRAME's grid, of which a frame is the highest of its own there."""
        num = round(len(sound) / RATE / FRAME) + 1
        found = torch.zeros(2, NUM_KEYS, num)
        padded = np.concatenate([np.zeros(EDGE * HOP, np.float32), sound, np.zeros(SIZE, np.float32)])
        for number in range(-(-len(sound) // STRIDE)):
            first = number * STRIDE
            made = torch.from_numpy(self._run(padded[first : first + SIZE])[:, EDGE:-EDGE]).transpose(1, 2)
            times = (first + HOP * torch.arange(made.shape[-1])) / RATE
            places = (times / FRAME).round().long()
            inside = places < num
            where = places[inside].expand(2, NUM_KEYS, -1)
            found.scatter_reduce_(-1, where, made[..., inside], "amax")
        return found
