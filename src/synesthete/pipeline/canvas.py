"""A sound of any length before it is sampled: what of its x_0 is known, and the windows that the rest is made in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.types import InputError


@dataclass(frozen=True)
class Frames:
    """How a codec's x_0 lies in time: frames are its columns.

    num: frames that a model makes at once, its window. whole: those of them that hold sound; the rest is padding.
    edge: frames at either end of a clip that the silence beyond it reaches into, so that they sound like no other.
    hop: samples a frame. sample_rate in Hz.
    """

    num: int
    whole: int
    edge: int
    hop: int
    sample_rate: int

    @staticmethod
    def of(codec: Any) -> Frames:
        """Those of a codec of sound."""
        if codec.spec is None:
            raise InputError(
                f"{type(codec).__name__} holds pictures, which have no length in time; give a model of sound"
            )
        spec, columns = codec.spec, codec.downsampling  # frames of the spectrogram in a latent's column
        hop = spec.hop_length * columns
        whole = min(codec.shape[-1], -(-spec.num_frames(codec.config.num_samples) // columns))
        edge = -(-spec.n_fft // (2 * hop)) + (columns > 1)
        return Frames(codec.shape[-1], whole, edge, hop, spec.sample_rate)

    def covering(self, num_samples: int) -> int:
        """Frames of a sound of that many samples."""
        return num_samples // self.hop + 1

    def seconds(self, num_frames: int) -> float:
        """How long that many frames are."""
        return num_frames * self.hop / self.sample_rate


def silent_frames(codec: Any, num_frames: int) -> Tensor:
    """x_0 (C, H, num_frames) of silence."""
    silence = torch.as_tensor(codec.silence).float()
    if silence.ndim == 3 and silence.shape[-1] > 1:  # latents: the middle knows nothing of the ends
        silence = silence[..., silence.shape[-1] // 2, None]
    return silence.expand(*codec.shape[:2], 1).expand(-1, -1, num_frames)


def encode_whole(codec: Any, waveform: Tensor) -> Tensor:
    """Waveform (B, S) of any length -> x_0 (B, C, H, T), T as `Frames.covering`: what one encoding of it would be."""
    frames = Frames.of(codec)
    total = frames.covering(waveform.shape[-1])
    pieces, done = [], 0
    while done < total:
        # Each piece begins early and ends late by frames that know of its ends, which are left out.
        start = max(done - frames.edge, 0)
        first = start * frames.hop
        x_0 = codec.encode(waveform[..., first : first + codec.config.num_samples])
        end = total if start + frames.whole >= total else start + frames.whole - frames.edge
        pieces.append(x_0[..., done - start : end - start])
        done = end
    return torch.cat(pieces, dim=-1)


class Window(NamedTuple):
    """A window that begins at frame `start` and gives the frames from `first` to before `end`.

    Whatever else of it is known is held. In a loop of T frames, frame T is frame 0.
    """

    start: int
    first: int
    end: int


def find_overlap(frames: Frames, seconds: float | None = None) -> int:
    """Frames that a window shares with the one before it; a quarter of the window where None."""
    most = (frames.whole - frames.edge - 1) // 2
    if seconds is None:
        return max(min(frames.whole // 4, most), 1)
    overlap = round(seconds * frames.sample_rate / frames.hop)
    if not 1 <= overlap <= most:
        raise InputError(
            f"overlap {seconds} s: give {frames.seconds(1):.3f} to {frames.seconds(most):.3f} s, "
            f"under half of this model's {frames.seconds(frames.whole):.2f}"
        )
    return overlap


def plan(known: Tensor, frames: Frames, overlap: int, *, is_loop: bool = False) -> list[Window]:
    """Windows which make every frame of known (T,) that is False, T at least a window, each once and in order.

    A window begins `overlap` frames before what it is to make, as far as there are any, and ends before its own edge;
    the last of a stretch reaches as far into what is known behind it. In a loop, that is its beginning.
    """
    known, total, windows = known.clone(), len(known), []
    if is_loop and not known.any():
        # The first leaves enough for a last one that has room for both ends; its own beginning is an edge, made again.
        end = min(frames.whole - frames.edge, total + frames.edge - (frames.whole - 2 * overlap))
        windows.append(Window(0, frames.edge, end))
        known[frames.edge : end] = True
    for first, end in unknown_stretches(known, is_loop=is_loop):
        windows += list(march(first, end, total, frames, overlap, is_loop=is_loop))
    return windows


def march(first: int, end: int, total: int, frames: Frames, overlap: int, *, is_loop: bool) -> Iterator[Window]:
    """Windows from frame `first` to before `end`."""
    whole = frames.whole
    after = overlap if is_loop else min(overlap, total - end)
    while first < end:
        before = overlap if is_loop else min(overlap, first)
        if end - first + before + after <= whole:
            start = first - (whole - (end - first)) // 2  # as much of what is known on either side
            start = min(max(start, end + after - whole), first - before)
            yield Window(start if is_loop else min(max(start, 0), total - whole), first, end)
            return
        reach = first - before + whole - frames.edge
        if after:  # the last one, which has to meet what comes after, gets as much room as there is
            reach = max(min(reach, end - (whole - overlap - after)), first + 1)
        yield Window(first - before, first, reach)
        first = reach


def unknown_stretches(known: Tensor, *, is_loop: bool = False) -> list[tuple[int, int]]:
    """(first, end) of each run of False; in a loop one that goes on over the end has an end beyond it."""
    values = known.tolist()
    edges = [i for i in range(len(values)) if not values[i] and (i == 0 or values[i - 1])]
    stretches = [(i, next((j for j in range(i, len(values)) if values[j]), len(values))) for i in edges]
    if is_loop and len(stretches) > 1 and not values[0] and not values[-1]:
        (_, end), (first, total) = stretches[0], stretches[-1]
        stretches = [*stretches[1:-1], (first, total + end)]
    return stretches


def resample(sounds: Tensor, sample_rate: int, to: int) -> Tensor:
    """Sounds (B, S) at another rate."""
    if sample_rate == to:
        return sounds
    rows = [soxr.resample(np.ascontiguousarray(row), sample_rate, to) for row in sounds.cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).float()


@dataclass
class Canvas:
    """x_0 (B, C, H, T) of a sound of `num_samples`, T at least the model's window, of which known (T,) is given.

    is_loop: its end meets its beginning. sound: the given waveform, (B, num_samples) or (1, num_samples). kept: (first,
    end) samples of it that come back as they were given.
    """

    x_0: Tensor
    known: Tensor
    num_samples: int
    is_loop: bool = False
    sound: Tensor | None = None
    kept: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """The batch size."""
        return len(self.x_0)

    def copies(self, num: int) -> Canvas:
        """`num` sounds that begin as this one does, to be made each in its own way."""
        return replace(self, x_0=self.x_0.repeat(num, 1, 1, 1), known=self.known.clone())

    @classmethod
    def unconditional(
        cls, codec: Any, batch_size: int, num_samples: int | None = None, *, is_loop: bool = False
    ) -> Canvas:
        """Nothing known, all to be made; as long as the codec's own clips where num_samples is None.

        Raises:
            InputError: no samples, or a loop shorter than the model's window.
        """
        frames = Frames.of(codec)
        if num_samples is None:
            num_samples = frames.whole * frames.hop if is_loop else codec.config.num_samples
        if num_samples < 1:
            raise InputError("a sound of 0 samples: give a longer one")
        # A window at least, and a whole number of hops around a loop.
        num_frames = round(num_samples / frames.hop) if is_loop else max(covered(codec, num_samples), frames.whole)
        if num_frames < frames.whole:
            raise InputError(
                f"a loop of {num_samples / frames.sample_rate:.2f} s: shorter than this model's window; "
                f"give at least {frames.seconds(frames.whole):.3f} s"
            )
        x_0 = silent_frames(codec, num_frames).expand(batch_size, -1, -1, -1).clone()
        return cls(x_0, torch.zeros(num_frames, dtype=torch.bool), num_samples, is_loop)

    @classmethod
    def in_whole_windows(cls, codec: Any, batch_size: int, num_samples: int, overlap: int) -> Canvas:
        """Nothing known, and so many frames to be made behind the sound that all windows overlap by `overlap` frames.

        None is moved back over more of those before it, and what is heard is of no window's end, so that a sound is the
        same whatever longer ones are made beside it.

        Raises:
            InputError: no samples.
        """
        canvas, frames = cls.unconditional(codec, batch_size, num_samples), Frames.of(codec)
        step = frames.whole - frames.edge - overlap
        num_more = max(-(-(frames.covering(num_samples) + frames.edge - frames.whole) // step), 0)
        total = frames.whole + num_more * step
        x_0 = silent_frames(codec, total).expand(batch_size, -1, -1, -1).clone()
        return replace(canvas, x_0=x_0, known=torch.zeros(total, dtype=torch.bool))

    @classmethod
    def continuation(cls, codec: Any, waveform: Tensor, num_samples: int, *, is_loop: bool = False) -> Canvas:
        """What goes on after a waveform (B, S), up to `num_samples` in all; in a loop back to its beginning.

        Raises:
            InputError: nothing left to make, or too short a waveform to go on from.
        """
        frames, length = Frames.of(codec), waveform.shape[-1]
        if num_samples <= length:
            asked, there = (samples / frames.sample_rate for samples in (num_samples, length))
            raise InputError(f"{asked:.2f} s: the given sound is {there:.2f} s already; ask for a longer one")
        canvas = cls.unconditional(codec, len(waveform), num_samples, is_loop=is_loop)
        given = frames.covering(length) - frames.edge  # the last ones know that the sound ends there
        if given <= frames.edge:
            raise InputError(
                f"a sound of {length / frames.sample_rate:.3f} s: too short to go on from; "
                f"give at least {frames.seconds(2 * frames.edge + 1):.3f} s"
            )
        first = frames.edge if is_loop else 0  # and the first ones that it begins
        given = min(given, canvas.x_0.shape[-1])
        canvas.x_0[..., :given] = encode_whole(codec, waveform)[..., :given].to(canvas.x_0)
        canvas.known[first:given] = True
        canvas.sound = F.pad(waveform, (0, num_samples - length))
        canvas.kept = [(first * frames.hop, min((given - 1) * frames.hop, length))]
        return canvas

    @classmethod
    def inpaint(cls, codec: Any, waveform: Tensor, start: int, end: int) -> Canvas:
        """A waveform (B, S) whose samples from `start` to before `end` are to be made anew.

        Raises:
            InputError: a gap outside the sound or all of it, or a sound shorter than the model's window.
        """
        frames, length = Frames.of(codec), waveform.shape[-1]
        if not 0 <= start < end <= length or end - start == length:
            words = [f"{samples / frames.sample_rate:.3f}" for samples in (start, end, length)]
            raise InputError(
                f"gap {words[0]} {words[1]}: give START < END inside the sound of {words[2]} s, and not all of it"
            )
        canvas = cls.variation(codec, waveform)
        # A frame's analysis window reaches over frames.edge of them: those that touch the gap are not known.
        first, last = start // frames.hop - frames.edge + 1, -(-end // frames.hop) + frames.edge - 1
        canvas.known[: covered(codec, length)] = True
        canvas.known[max(first, 0) : last + 1] = False
        canvas.kept = [stretch for stretch in ((0, start), (end, length)) if stretch[0] < stretch[1]]
        return canvas

    @classmethod
    def variation(cls, codec: Any, waveform: Tensor, *, is_loop: bool = False) -> Canvas:
        """A waveform (B, S) to be varied from beginning to end: nothing of it is known, all of it is a start.

        Raises:
            InputError: a sound shorter than the model's window.
        """
        frames, length = Frames.of(codec), waveform.shape[-1]
        least = min(codec.config.num_samples, (frames.whole - 1) * frames.hop)
        if length < least:
            raise InputError(
                f"a sound of {length / frames.sample_rate:.2f} s: shorter than this model's window, "
                f"{least / frames.sample_rate:.2f} s; give a longer one, or go on from it"
            )
        canvas = cls.unconditional(codec, len(waveform), length, is_loop=is_loop)
        num_frames = min(covered(codec, length), canvas.x_0.shape[-1])
        canvas.x_0[..., :num_frames] = encode_whole(codec, waveform)[..., :num_frames].to(canvas.x_0)
        canvas.sound = waveform
        return canvas


def covered(codec: Any, num_samples: int) -> int:
    """Frames of a sound, no more than a window's for one that a window holds."""
    frames = Frames.of(codec)
    return frames.whole if num_samples <= codec.config.num_samples else frames.covering(num_samples)
