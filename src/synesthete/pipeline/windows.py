"""How a codec's x_0 lies in time, x_0 of any length, and the windows that a long one is made in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


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
        """Those of a codec of sound.

        Raises:
            InputError: a codec of pictures.
        """
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


def encode(codec: Any, waveform: Tensor) -> Tensor:
    """Waveform (B, S) of any length -> x_0 (B, C, H, T), T as `Frames.covering`: what one encoding of it would be.

    Raises:
        InputError: as the codec's `encode`.
    """
    frames = Frames.of(codec)
    total = frames.covering(waveform.shape[-1])
    pieces: list[Tensor] = []
    done = 0
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
    """Frames that a window shares with the one before it; a quarter of the window where None.

    Raises:
        InputError: none at all, or so many that a window has no room for new ones between two others.
    """
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
