"""The log-mel that sound is evaluated, compared and drawn by, whatever the codec of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from synesthete.data.audio import as_float
from synesthete.nn.spectrum import mel_filterbank, mel_spectrogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synesthete.data.rows import Pieces, Rows

    Sounds = Tensor | Rows | Pieces

N_MELS = 64
FLOOR_DB = -80.0  # under a full-scale sine
WINDOW = 0.04  # seconds; the next power of two in samples
CHUNK = 32  # sounds at once
SHOWN = 96  # bands of a picture


def window_size(sample_rate: int, seconds: float) -> int:
    """The next power of two in samples."""
    return 2 ** math.ceil(math.log2(sample_rate * seconds))


def frame_sizes(sample_rate: int) -> tuple[int, int]:
    """n_fft and hop_length in samples: 2048 and 512 at 32 kHz."""
    n_fft = window_size(sample_rate, WINDOW)
    return n_fft, n_fft // 4


def stft(waveforms: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Complex (B, F, T) of sounds (B, S) under a Hann window, silence beyond their ends."""
    window = torch.hann_window(n_fft)
    return torch.stft(waveforms, n_fft, hop_length, window=window, pad_mode="constant", return_complex=True)


def parts(waveforms: Sounds) -> Iterator[Tensor]:
    """Sounds (n, S), int16 or float in [-1, 1], as float32 in [-1, 1] on the CPU, CHUNK after CHUNK."""
    for first in range(0, len(waveforms), CHUNK):
        yield as_float(waveforms[first : first + CHUNK].cpu())


# Slaney's bands and decibels, where the codecs have HTK's and natural logarithms: what the saved classifiers learned
# from, and what sounds are compared by whatever codec made them.
def log_mel(waveforms: Tensor, sample_rate: int, n_mels: int = N_MELS) -> Tensor:
    """Sounds (B, S) float -> level of each mel band (Slaney's scale) in dB, (B, n_mels, T); a full-scale sine is 0."""
    n_fft, hop_length = frame_sizes(sample_rate)
    window = torch.hann_window(n_fft)
    # Mirrored at its ends, a sound that was cut there does not click.
    pad_mode = "reflect" if waveforms.shape[-1] > n_fft // 2 else "constant"
    bands, full_scale = mel_filterbank(sample_rate, n_fft, n_mels, htk=False), window.sum() / 2
    level = mel_spectrogram(waveforms, bands, window, hop_length, full_scale=full_scale, pad_mode=pad_mode)
    return 20 * level.clamp(min=10 ** (FLOOR_DB / 20)).log10()


def band_statistics(levels: Tensor) -> Tensor:
    """Log-mel (B, F, T) in dB -> mean and standard deviation over time of each band, (B, 2 F): when is forgotten."""
    return torch.cat([levels.mean(dim=-1), levels.std(dim=-1, correction=0)], dim=1)


def draw_spectrograms(waveforms: Tensor, sample_rate: int) -> list[Image.Image]:
    """Each sound (n, S) as a picture, low bands at the bottom, from -80 dB (dark) to 0 dB (bright)."""
    import matplotlib  # takes a moment, and most that is heard is not drawn

    shade = 1 - log_mel(as_float(waveforms.cpu()), sample_rate, SHOWN).flip(-2).clamp(FLOOR_DB, 0).numpy() / FLOOR_DB
    return [Image.fromarray((matplotlib.colormaps["magma"](one)[..., :3] * 255).astype("uint8")) for one in shade]
