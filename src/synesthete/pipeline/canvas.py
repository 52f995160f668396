"""A sound of any length before it is sampled: what of it is known, what is to be varied, and what is to be made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete.pipeline.windows import Frames, encode, silent_frames
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor


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
        num_frames = count_frames(codec, num_samples, is_loop=is_loop)
        x_0 = silent_frames(codec, num_frames).expand(batch_size, -1, -1, -1).clone()
        return cls(x_0, torch.zeros(num_frames, dtype=torch.bool), num_samples, is_loop)

    @classmethod
    def continuation(cls, codec: Any, waveform: Tensor, num_samples: int, *, is_loop: bool = False) -> Canvas:
        """What goes on after a waveform (B, S), up to `num_samples` in all; in a loop back to its beginning.

        Raises:
            InputError: nothing left to make, or too short a waveform to go on from.
        """
        frames, length = Frames.of(codec), waveform.shape[-1]
        if num_samples <= length:
            seconds = [samples / frames.sample_rate for samples in (num_samples, length)]
            raise InputError(f"{seconds[0]:.2f} s: the given sound is {seconds[1]:.2f} s already; ask for a longer one")
        canvas = cls.unconditional(codec, len(waveform), num_samples, is_loop=is_loop)
        given = frames.covering(length) - frames.edge  # the last ones know that the sound ends there
        if given <= frames.edge:
            raise InputError(
                f"a sound of {length / frames.sample_rate:.3f} s: too short to go on from; "
                f"give at least {frames.seconds(2 * frames.edge + 1):.3f} s"
            )
        first = frames.edge if is_loop else 0  # and the first ones that it begins
        given = min(given, canvas.x_0.shape[-1])
        canvas.x_0[..., :given] = encode(codec, waveform)[..., :given].to(canvas.x_0)
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
        canvas.x_0[..., :num_frames] = encode(codec, waveform)[..., :num_frames].to(canvas.x_0)
        canvas.sound = waveform
        return canvas


def covered(codec: Any, num_samples: int) -> int:
    """Frames of a sound, no more than a window's for one that a window holds."""
    frames = Frames.of(codec)
    return frames.whole if num_samples <= codec.config.num_samples else frames.covering(num_samples)


def count_frames(codec: Any, num_samples: int, *, is_loop: bool) -> int:
    """Frames of a canvas: a window at least, and a whole number of hops around a loop.

    Raises:
        InputError: no samples, or a loop shorter than the model's window.
    """
    frames = Frames.of(codec)
    if num_samples < 1:
        raise InputError("a sound of 0 samples: give a longer one")
    if not is_loop:
        return max(covered(codec, num_samples), frames.whole)
    num_frames = round(num_samples / frames.hop)
    if num_frames < frames.whole:
        raise InputError(
            f"a loop of {num_samples / frames.sample_rate:.2f} s: shorter than this model's window; "
            f"give at least {frames.seconds(frames.whole):.3f} s"
        )
    return num_frames
