"""Sounds as a page carries them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import soundfile

from synesthete.data.audio import to_int16

if TYPE_CHECKING:
    from torch import Tensor


def encode_wav(waveform: Tensor, sample_rate: int) -> bytes:
    """A waveform (S,), int16 or float in [-1, 1], as a 16-bit wav file."""
    samples = to_int16(waveform) if waveform.is_floating_point() else waveform.cpu()
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.numpy(), sample_rate, subtype="PCM_16", format="WAV")
    return encoded.getvalue()
