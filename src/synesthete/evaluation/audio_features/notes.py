"""Notes that are heard in a sound, beside those that were asked for; and basic-pitch, which hears them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.audio import as_float
from synesthete.pipeline.canvas import resample
from synesthete.types import InputError, counted, first_line

FRAME = 0.02  # seconds from one frame of what is heard to the next
LOWEST, NUM_KEYS = 21, 88  # the MIDI pitch of the first row, and rows: a piano's keys
TOLERANCE = 0.05  # seconds by which a note may begin earlier or later, as in MIREX's evaluations of transcribers
APART = 2  # frames that two beginnings of one pitch are apart at least


@dataclass(frozen=True)
class Heard:
    """How likely each key sounds, and begins to, in each frame: (n, NUM_KEYS, T) each, from 0 to 1."""

    sounds: Tensor
    begins: Tensor


class NoteListener(Protocol):
    """Anything that hears notes. name: for reports. thresholds: from which on a key sounds, and begins."""

    name: str
    thresholds: tuple[float, float]

    def hear(self, waveforms: Tensor, sample_rate: int, progress: Any = None) -> Heard:
        """Sounds (n, S), int16 or float in [-1, 1], on FRAME's grid; progress(done, n)."""
        ...


def asked_keys(roll: Tensor, frame_seconds: float, num_frames: int) -> Tensor:
    """Rolls (n, 2, 128, T) as bool (n, 2, NUM_KEYS, num_frames) on FRAME's grid; other pitches are left out."""
    keys = roll[:, :, LOWEST : LOWEST + NUM_KEYS].bool()
    places = (torch.arange(keys.shape[-1]) * frame_seconds / FRAME).round().long().clamp(max=num_frames - 1)
    found = torch.zeros(*keys.shape[:-1], num_frames, dtype=torch.bool)
    if len(places.unique()) == num_frames:  # no finer than the grid asks for: nothing begins between frames
        return found.long().index_add_(-1, places, keys.long()).bool()
    nearest = (torch.arange(num_frames) * FRAME / frame_seconds).round().long().clamp(max=keys.shape[-1] - 1)
    found[:, 0] = keys[:, 0, :, nearest]
    found[:, 1] = found[:, 1].long().index_add_(-1, places, keys[:, 1].long()).bool()
    return found


def beginnings(begins: Tensor, threshold: float) -> Tensor:
    """(P, T) of how likely a key begins -> bool (P, T): the peaks that reach the threshold."""
    highest = F.max_pool1d(begins[None], 2 * APART + 1, 1, APART)[0]
    peak = (begins >= threshold) & (begins == highest)
    before = F.pad(peak, (1, 0))[:, :-1]
    return peak & ~before  # of a flat top the first


def matched(heard: Tensor, asked: Tensor) -> int:
    """Of beginnings (P, T), how many are within TOLERANCE of one that was asked for, each with one of its own."""
    num, reach = 0, int(TOLERANCE / FRAME)
    for key in (heard.any(dim=1) & asked.any(dim=1)).nonzero().flatten().tolist():
        times, wanted = (each[key].nonzero().flatten().tolist() for each in (heard, asked))
        place = 0
        for time in wanted:  # of one pitch, the earliest that will do is the best
            while place < len(times) and times[place] < time - reach:
                place += 1
            if place < len(times) and times[place] <= time + reach:
                num, place = num + 1, place + 1
    return num


def f1(num_right: int, num_heard: int, num_asked: int) -> float:
    """Harmonic mean of precision and recall; 1 where nothing was asked for, nor heard."""
    return 2 * num_right / (num_heard + num_asked) if num_heard + num_asked else 1.0


def note_f1(heard: Heard, asked: Tensor, threshold: float) -> Tensor:
    """F1 (n,) of the notes' beginnings; asked as `asked_keys` has it."""
    pairs = [(beginnings(likely, threshold), own) for likely, own in zip(heard.begins, asked[:, 1], strict=True)]
    found = [f1(matched(begun, wanted), int(begun.sum()), int(wanted.sum())) for begun, wanted in pairs]
    return torch.tensor(found, dtype=torch.float64)


def frame_f1(heard: Heard, asked: Tensor, threshold: float) -> Tensor:
    """F1 (n,) of which keys sound, cell by cell."""
    sounding, wanted = heard.sounds >= threshold, asked[:, 0]
    found = [f1(int((a & b).sum()), int(a.sum()), int(b.sum())) for a, b in zip(sounding, wanted, strict=True)]
    return torch.tensor(found, dtype=torch.float64)


def best_thresholds(heard: Heard, asked: Tensor) -> tuple[float, float]:
    """From which likelihood on keys sound, and begin, so that both F1 are best."""
    tried = [place / 20 for place in range(2, 19)]
    sounds = max(tried, key=lambda threshold: float(frame_f1(heard, asked, threshold).mean()))
    begins = max(tried, key=lambda threshold: float(note_f1(heard, asked, threshold).mean()))
    return sounds, begins


RATE, HOP = 22_050, 256  # of what it reads
SIZE, EDGE = 43_844, 15  # samples of a window, and frames at either end of it that are left out
STRIDE = SIZE - 2 * EDGE * HOP
FILE = "nmp.onnx"
INPUT, OUTPUTS = "serving_default_input_2:0", ("StatefulPartitionedCall:1", "StatefulPartitionedCall:2")


class BasicPitch:
    """A `NoteListener` by the network of the basic-pitch package. path: `nmp.onnx`, or a folder with it in it or below.

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
        return np.stack(self.session.run(list(OUTPUTS), {INPUT: window[None, :, None]}))[:, 0]

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
