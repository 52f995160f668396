"""From a finished canvas to sound: decoded once, its ends joined in a loop, what was given put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.pipeline.upsampling import resample
from synesthete.pipeline.windows import Frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.pipeline.canvas import Canvas

CROSSFADE = 0.02  # seconds over which one sound goes over into another
WRAP = 0.5  # seconds of a loop that are decoded again beyond either end


def decode_canvas(codec: Any, canvas: Canvas, generators: Sequence[torch.Generator] | None = None) -> Tensor:
    """The waveform (B, num_samples) of a canvas, on the CPU.

    All frames are decoded at once, so there is no seam between windows. What was given comes back sample by sample,
    and goes over into what was made within 20 ms.
    """
    if canvas.is_loop:
        waveform = decode_loop(codec, canvas.x_0.to(codec.device), canvas.num_samples, generators)
    else:
        waveform = codec.decode(canvas.x_0.to(codec.device), generators, num_samples=canvas.num_samples).float().cpu()
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


def crossfade(before: Tensor, after: Tensor) -> Tensor:
    """`before` (B, S) going over into `after`, as loud on the way as they are.

    Linear where both are the same, of equal power where they have nothing to do with each other.
    """
    share = (torch.arange(before.shape[-1]) + 0.5) / max(before.shape[-1], 1)
    energies = (before.square().sum(-1) * after.square().sum(-1)).sqrt()
    alike = ((before * after).sum(-1) / energies.clamp(min=1e-12)).clamp(0, 1).unsqueeze(-1)  # (B, 1)
    power = (1 - share).square() + share.square() + 2 * alike * share * (1 - share)
    return ((1 - share) * before + share * after) / power.sqrt()
