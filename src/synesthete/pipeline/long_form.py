"""Sound of any length from one model: windows of x_0, each holding what it shares with those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.diffusion.sampling import find_first, scheduler_for
from synesthete.pipeline.decode_audio import decode_canvas
from synesthete.pipeline.inpainting import NUM_CORRECTIONS, inpaint
from synesthete.pipeline.pipeline import Output
from synesthete.pipeline.windows import Frames, find_overlap, plan, silent_frames
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from synesthete.pipeline.canvas import Canvas
    from synesthete.pipeline.pipeline import Pipeline
    from synesthete.pipeline.windows import Window

RESAMPLING_STRENGTH = 0.5  # how far back towards noise each round of resampling goes


def sample_long_form(
    pipeline: Pipeline, raw: Tensor, canvas: Canvas, *, generators: Sequence[torch.Generator] | None = None, **how: Any
) -> Output:
    """The sound (B, num_samples) of a canvas once all of it is made. Arguments as for `long_form_steps`.

    Raises:
        InputError: as `long_form_steps`.
    """
    generators = list(generators or seeding.sample_generators(0, len(canvas)))
    for _ in long_form_steps(pipeline, raw, canvas, generators=generators, **how):
        pass
    return Output(decode_canvas(pipeline.codec, canvas, generators), canvas.x_0)


def long_form_steps(
    pipeline: Pipeline,
    raw: Tensor,
    canvas: Canvas,
    *,
    generators: Sequence[torch.Generator] | None = None,
    overlap: float | None = None,
    strength: float = 1.0,
    num_corrections: int = NUM_CORRECTIONS,
    num_resamplings: int = 0,
    **sampling: Any,
) -> Iterator[tuple[int, int]]:
    """Make what a canvas lacks, window by window, in place; yields the steps done and those in all after each.

    raw: as for a call of the pipeline, the same for all windows; or, where the conditioner reads sound, the whole of it
    (B, S), of which each window is told its own stretch. generators: one a sample, so that a batch equals its singles.
    overlap: seconds that a window shares with the one before it; a quarter of the window where None. strength: under 1
    begins at the canvas' own x_0, noised that far, and so varies it. num_corrections: as for `inpaint`, backward passes
    in each step of a window that holds something, each about as long as the step itself. num_resamplings: rounds that
    noise what a window made half of the way and walk back, so that it and what is held have seen each other (RePaint,
    Lugmayr et al. 2022, section 4.2, with jumps from clean data, which any sampler can take); each costs half of a
    window's steps.

    Raises:
        InputError: an overlap, a strength or a sampling setting out of range, or raw of another batch size.
    """
    frames = Frames.of(pipeline.codec)
    generators = list(generators or seeding.sample_generators(0, len(canvas)))
    if len(raw) != len(canvas):
        raise InputError(f"{len(raw)} conditions for {len(canvas)} sounds; give one each")
    for name, number in (("num_corrections", num_corrections), ("num_resamplings", num_resamplings)):
        if number < 0:
            raise InputError(f"{name} {number}: give 0 or more")
    windows = plan(canvas.known, frames, find_overlap(frames, overlap), is_loop=canvas.is_loop)
    rounds = [strength] + num_resamplings * [RESAMPLING_STRENGTH]
    each = [count_steps(pipeline, share, **sampling) for share in rounds]
    total, done = len(windows) * sum(each), 0
    for window in windows:
        index = torch.arange(window.start, window.start + frames.whole) % canvas.x_0.shape[-1]
        x_0, keep = framed(pipeline.codec, canvas, index)
        heard = stretch(pipeline, raw, window, canvas)
        fitting = num_corrections if canvas.known[index].any() else 0  # padding is silent whatever is beside it
        around = inpaint(pipeline.process, x_0.to(pipeline.device), keep, fitting) if keep.any() else None
        made, begins = x_0, strength < 1
        for share in rounds:
            start = made if begins else None
            steps = pipeline.trajectory(
                heard, generators=generators, around=around, start=start, strength=share, **sampling
            )
            for x_t in steps:
                made = x_t
                done += 1
                yield done, total
            made, begins = torch.where(keep, x_0, made.float().cpu()), True
        new = torch.arange(window.first, window.end)
        places = new % canvas.x_0.shape[-1]
        canvas.x_0[..., places] = made[..., new - window.start]
        canvas.known[places] = True


def count_steps(pipeline: Pipeline, strength: float, **sampling: Any) -> int:
    """How many x_t a trajectory yields."""
    scheduler = scheduler_for(pipeline.sampling_settings(**sampling), pipeline.process)
    return len(scheduler.timesteps) - find_first(scheduler, strength)


def framed(codec: Any, canvas: Canvas, index: Tensor) -> tuple[Tensor, Tensor]:
    """x_0 (B, C, H, num) of a window, its padding silent, and which of its frames (num,) are known: that is, too."""
    padding = Frames.of(codec).num - len(index)
    x_0, known = canvas.x_0[..., index], canvas.known[index]
    if not padding:
        return x_0, known
    silence = silent_frames(codec, padding).to(x_0).expand(len(x_0), -1, -1, -1)
    return torch.cat([x_0, silence], dim=-1), F.pad(known, (0, padding), value=True)


def stretch(pipeline: Pipeline, raw: Tensor, window: Window, canvas: Canvas) -> Tensor:
    """What a window is told: all of raw, or the part of a sound that it lies over."""
    if pipeline.conditioner.reads != "sound":
        return raw
    hop, length = Frames.of(pipeline.codec).hop, pipeline.codec.config.num_samples
    first = window.start * hop
    if canvas.is_loop:
        return raw[:, torch.arange(first, first + length) % raw.shape[-1]]
    part = raw[:, first : first + length]
    return F.pad(part, (0, length - part.shape[-1]))
