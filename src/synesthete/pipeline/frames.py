"""Where the columns of x_0 lie in time, and x_0 of sounds longer than a codec holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.types import InputError

if TYPE_CHECKING:
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
        if not hasattr(codec, "spec"):
            raise InputError(
                f"{type(codec).__name__} holds pictures, which have no length in time; give a model of sound"
            )
        spec, columns = codec.spec, getattr(codec, "downsampling", 1)  # frames of the spectrogram in a latent's column
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
