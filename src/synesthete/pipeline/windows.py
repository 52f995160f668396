"""Which windows of a long x_0 are made in which order, and what of each is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from synesthete.pipeline.frames import Frames


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
