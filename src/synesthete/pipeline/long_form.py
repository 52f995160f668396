"""Sound of any length from one model: windows of x_0, each holding what it shares with those before, decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import find_first, scheduler_for
from synesthete.pipeline.canvas import Canvas, Frames, Window, find_overlap, plan, resample, silent_frames
from synesthete.pipeline.pipeline import Output, Pipeline
from synesthete.types import InputError, ScoreWindows

if TYPE_CHECKING:
    Denoise = Callable[[Tensor, Tensor], Tensor]

NUM_CORRECTIONS = 2  # where the ideal denoiser's seams are as smooth as its insides; one leaves a third more
LEAST_COSINE = 0.1  # between what is missed and what it moves, below which a step would be too long to trust
CROSSFADE = 0.02  # seconds over which one sound goes over into another
FADE = 0.003  # seconds at either end of a sound that begins and ends in the middle of music
WRAP = 0.5  # seconds of a loop that are decoded again beyond either end
RESAMPLING_STRENGTH = 0.5  # how far back towards noise each round of resampling goes


def inpaint(
    process: Process, known: Tensor, keep: Tensor, num_corrections: int = NUM_CORRECTIONS
) -> Callable[[Denoise], Denoise]:
    """An `around` of `Pipeline.trajectory` that says x_0 = known (B, C, H, W) wherever keep (..., W) is True.

    The known part is put into the x_0 estimate of every step, in the form that the sampler takes. So its x_t is known
    plus the very noise that the walk began with (or that a stochastic sampler drew), as a training example's would be,
    by any sampler: where each estimate is the same, no solver of any order errs (after the replacement of Song et al.
    2021, score SDE, appendix I.2, which is made in x_t).

    That alone leaves the rest as if it had read the known part through the noise only, and more steps do not help. So
    the rest of the estimate is moved first to where the known part would be expected as it is, by the
    `reconstruction_guidance` of Ho et al. 2022 (video diffusion, eq. 7). 0 corrections leave it out.
    """
    # What is around the network is stated as the sampler takes it.
    stated = process
    if num_corrections:
        told = {"preconditioned": False, "prediction_type": process.sampler_space}
        stated = Process.of(process.settings() | told)

    def around(denoise: Denoise) -> Denoise:
        def held(x_t: Tensor, timestep: Tensor) -> Tensor:
            times = timestep.flatten()[:1].to(x_t.device)
            here, kept = known.to(x_t), keep.to(x_t.device)
            if not num_corrections:
                exact = process.stated(here, x_t.float(), times)
                return torch.where(kept, exact, denoise(x_t, timestep))
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                x_0 = stated.convert(denoise(x_t, timestep), x_t.float(), times, "sample")
            x_0 = torch.where(kept, here, reconstruction_guidance(x_0, x_t, here, kept, num_corrections))
            return process.stated(x_0, x_t.detach().float(), times)

        return held

    return around


def reconstruction_guidance(x_0: Tensor, x_t: Tensor, known: Tensor, keep: Tensor, num_steps: int) -> Tensor:
    """The estimate x_0 of x_t, both (B, C, H, W) with a graph between them, moved towards `known` where `keep`.

    Given x_t, x_0 is spread about its estimate with covariance C = sigma^2 / alpha dx_0 / dx_t (Tweedie), so that the
    best estimate that also knows y in some places is x_0 + C_k (C_kk)^-1 (y - x_0)_k. The inverse is approached by
    steps of conjugate gradients, each a product with C, that is: a backward pass. Its scale cancels out.
    """
    dims = tuple(range(1, x_0.ndim))

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dims, keepdim=True)  # (B, 1, 1, 1)

    moved = x_0.detach().clone()
    residual = torch.where(keep, known - moved, 0.0)
    direction, missed = residual, dot(residual, residual)
    for step in range(num_steps):
        (change,) = torch.autograd.grad(x_0, x_t, direction, retain_graph=step + 1 < num_steps)
        change = change.float()
        answer = torch.where(keep, change, 0.0)
        along = dot(direction, answer)
        least = LEAST_COSINE * (dot(direction, direction) * dot(answer, answer)).sqrt()
        size = torch.where((along > 0) & (least > 0), missed / torch.maximum(along, least), 0.0)
        size = size.nan_to_num(posinf=0.0)
        moved = moved + size * change
        residual = residual - size * answer
        left = dot(residual, residual)
        direction = residual + left / missed.clamp(min=1e-12) * direction
        missed = left
    return moved


def decode_canvas(codec: Any, canvas: Canvas, generators: Sequence[torch.Generator] | None = None) -> Tensor:
    """The waveform (B, num_samples) of a canvas, on the CPU.

    All frames are decoded at once, so there is no seam between windows. What was given comes back sample by sample,
    and goes over into what was made within 20 ms.
    """
    x_0, num_samples = canvas.x_0.to(codec.device), canvas.num_samples
    if canvas.is_loop:
        waveform = decode_loop(codec, x_0, num_samples, generators)
    else:
        waveform = codec.decode(x_0, generators, num_samples=num_samples).float().cpu()
    fade = round(CROSSFADE * codec.spec.sample_rate)
    for first, end in canvas.kept:
        assert canvas.sound is not None
        waveform = put_back(canvas.sound.float().cpu(), waveform, first, end, fade, is_loop=canvas.is_loop)
    return waveform


def decode_loop(
    codec: Any, x_0: Tensor, num_samples: int, generators: Sequence[torch.Generator] | None = None
) -> Tensor:
    """x_0 (B, C, H, T) of a loop -> waveform (B, num_samples) on the CPU, whose end goes on into its beginning.

    It is decoded with its own beginning behind its end and its end before its beginning. What follows the end then is
    the beginning again, but for phases that a decoder had to guess: one goes over into the other. A length that is no
    whole number of frames is reached by resampling, by less than half a frame in all.
    """
    frames, total = Frames.of(codec), x_0.shape[-1]
    around = min(max(round(WRAP * frames.sample_rate / frames.hop), 2), total)
    wrapped = torch.cat([x_0[..., -around:], x_0, x_0[..., :around]], dim=-1)
    body = total * frames.hop
    sound = codec.decode(wrapped, generators, num_samples=body + 2 * around * frames.hop).float().cpu()
    first = around * frames.hop
    fade = min(round(CROSSFADE * frames.sample_rate), first // 2)
    waveform = close_loop(sound[..., first : first + body + fade], body)
    if body == num_samples:
        return waveform
    margin = min(body, frames.sample_rate // 4)
    ring = torch.cat([waveform[..., -margin:], waveform, waveform[..., :margin]], dim=-1)
    outside = round(margin * num_samples / body)
    return resample(ring, body, num_samples)[..., outside : outside + num_samples]


def close_loop(sound: Tensor, num_samples: int) -> Tensor:
    """Sound (B, S) whose samples from `num_samples` on are its beginning over again -> (B, num_samples), a loop."""
    loop, after = sound[..., :num_samples].clone(), sound[..., num_samples:]
    fade = after.shape[-1]
    loop[..., :fade] = crossfade(after, loop[..., :fade])
    return loop


def put_back(given: Tensor, made: Tensor, first: int, end: int, fade: int, *, is_loop: bool = False) -> Tensor:
    """`made` (B, S) with the samples of `given` from `first` to before `end`, faded into what is around them."""
    end = min(end, made.shape[-1])
    fade = min(fade, (end - first) // 2)
    whole = made.clone()
    whole[..., first:end] = given[..., first:end]
    if fade and (first or is_loop):
        here = slice(first, first + fade)
        whole[..., here] = crossfade(made[..., here], given[..., here])
    if fade and (end < made.shape[-1] or is_loop):
        here = slice(end - fade, end)
        whole[..., here] = crossfade(given[..., here], made[..., here])
    return whole


def fade_ends(sound: Tensor, sample_rate: int, *, begins: bool = True, ends: bool = True) -> Tensor:
    """`sound` (B, S) that begins and ends at 0, without a click, by half a cosine of 3 ms."""
    num = min(round(FADE * sample_rate), sound.shape[-1] // 2)
    rise = 0.5 - 0.5 * (torch.pi * (torch.arange(num) + 0.5) / max(num, 1)).cos()
    faded = sound.clone()
    if begins:
        faded[..., :num] *= rise.to(sound)
    if ends:
        faded[..., sound.shape[-1] - num :] *= rise.flip(0).to(sound)
    return faded


def crossfade(before: Tensor, after: Tensor) -> Tensor:
    """`before` (B, S) going over into `after`, as loud on the way as they are.

    Linear where both are the same, of equal power where they have nothing to do with each other.
    """
    share = (torch.arange(before.shape[-1]) + 0.5) / max(before.shape[-1], 1)
    energies = (before.square().sum(-1) * after.square().sum(-1)).sqrt()
    alike = ((before * after).sum(-1) / energies.clamp(min=1e-12)).clamp(0, 1).unsqueeze(-1)  # (B, 1)
    power = (1 - share).square() + share.square() + 2 * alike * share * (1 - share)
    return ((1 - share) * before + share * after) / power.sqrt()


def sample_long_form(
    pipeline: Pipeline, raw: Any, canvas: Canvas, *, generators: Sequence[torch.Generator] | None = None, **how: Any
) -> Output:
    """The sound (B, num_samples) of a canvas once all of it is made. Arguments and errors as of `long_form_steps`."""
    generators = list(generators or seeding.sample_generators(0, len(canvas)))
    for _ in long_form_steps(pipeline, raw, canvas, generators=generators, **how):
        pass
    return Output(decode_canvas(pipeline.codec, canvas, generators), canvas.x_0)


def long_form_steps(
    pipeline: Pipeline,
    raw: Tensor | ScoreWindows,
    canvas: Canvas,
    *,
    generators: Sequence[torch.Generator] | None = None,
    overlap: float | None = None,
    strength: float = 1.0,
    num_corrections: int = NUM_CORRECTIONS,
    num_resamplings: int = 0,
    num_blended: int = 0,
    **sampling: Any,
) -> Iterator[tuple[int, int]]:
    """Make what a canvas lacks, window by window, in place; yields the steps done and those in all after each.

    raw: as for a call of the pipeline, the same for all windows; or, where the conditioner reads sound, the whole of it
    (B, S), of which each window is told its own stretch; or `ScoreWindows` with the roll of all of it, of which each
    window is told its own stretch and what the canvas knows there. generators: one a sample, so that a batch equals its
    singles. overlap: seconds that a window shares with the one before it; a quarter of the window where None. strength:
    under 1 begins at the canvas' own x_0, noised that far, and so varies it. num_corrections: as for `inpaint`,
    backward passes in each step of a window that holds something, each about as long as the step itself.
    num_resamplings: rounds that noise what a window made half of the way and walk back, so that it and what is held
    have seen each other (RePaint, Lugmayr et al. 2022, section 4.2, with jumps from clean data, which any sampler can
    take); each costs half of a window's steps. num_blended: frames, the last of those that a window shares with the one
    before, which it makes too, and in which what the two made goes over from one into the other; none may be given.

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
    scheduler = scheduler_for(pipeline.sampling_settings(**sampling), pipeline.process)
    each = [len(scheduler.timesteps) - find_first(scheduler, share) for share in rounds]
    total, done = len(windows) * sum(each), 0
    for window in windows:
        index = torch.arange(window.start, window.start + frames.whole) % canvas.x_0.shape[-1]
        first = max(window.first - num_blended, window.start)
        canvas.known[first : window.first] = False
        x_0, keep = framed(pipeline.codec, canvas, index)
        heard = stretch(pipeline, raw, window, canvas)
        fitting = num_corrections if canvas.known[index].any() else 0  # padding is silent whatever is beside it
        around = inpaint(pipeline.process, x_0.to(pipeline.device), keep, fitting) if keep.any() else None
        made, start = x_0, x_0 if strength < 1 else None
        for share in rounds:
            how: dict[str, Any] = {"around": around, "start": start, "strength": share}
            for x_t in pipeline.trajectory(heard, generators=generators, **how, **sampling):
                made, done = x_t, done + 1
                yield done, total
            made = start = torch.where(keep, x_0, made.float().cpu())
        new = torch.arange(first, window.end)
        places = new % canvas.x_0.shape[-1]
        weight = ((new - first + 1) / (window.first - first + 1)).clamp(max=1)
        canvas.x_0[..., places] = torch.lerp(canvas.x_0[..., places], made[..., new - window.start], weight)
        canvas.known[places] = True


def framed(codec: Any, canvas: Canvas, index: Tensor) -> tuple[Tensor, Tensor]:
    """x_0 (B, C, H, num) of a window, its padding silent, and which of its frames (num,) are known: that is, too."""
    padding = Frames.of(codec).num - len(index)
    x_0, known = canvas.x_0[..., index], canvas.known[index]
    if not padding:
        return x_0, known
    silence = silent_frames(codec, padding).to(x_0).expand(len(x_0), -1, -1, -1)
    return torch.cat([x_0, silence], dim=-1), F.pad(known, (0, padding), value=True)


def stretch(pipeline: Pipeline, raw: Any, window: Window, canvas: Canvas) -> Any:
    """What a window is told: all of raw, or the part of a sound or a score that it lies over."""
    if pipeline.conditioner.reads == "score":
        index = torch.arange(window.start, window.start + Frames.of(pipeline.codec).whole)
        before, known = framed(pipeline.codec, canvas, index % canvas.x_0.shape[-1])
        num = before.shape[-1]
        roll = raw.roll[..., window.start : window.start + num]
        roll = F.pad(roll, (0, num - roll.shape[-1]))  # nothing sounds where the score is over
        return ScoreWindows(roll, raw.instrument, before * known, known.expand(len(raw), -1))
    if pipeline.conditioner.reads != "sound":
        return raw
    hop, length = Frames.of(pipeline.codec).hop, pipeline.codec.config.num_samples
    first = window.start * hop
    if canvas.is_loop:
        return raw[:, torch.arange(first, first + length) % raw.shape[-1]]
    part = raw[:, first : first + length]
    return F.pad(part, (0, length - part.shape[-1]))
