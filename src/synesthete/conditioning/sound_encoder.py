"""A small encoder of sound that learns from little data: a log-mel through a few convolutions, one vector a sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.nn.blocks import ResidualConv
from synesthete.nn.mel import mel_filterbank, mel_spectrogram
from synesthete.nn.part import Part
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

RANGE_DB = 80.0
# A clip whose loudest cell is below this, a full-scale sine being near 0, is not made louder: silence stays silent.
QUIETEST_DB = -60.0


class SoundEncoder(Part):
    """Waveforms (B, S) -> (B, width), vectors of length 1: what `objectives.Alignment` teaches it to tell apart.

    The log-mel, 80 dB below its own loudest cell, goes through residual convolutions; then every column of features
    is weighed by what it says (attentive pooling, Okabe et al. 2018) and the loudest of each is kept beside that mean,
    so loudness makes no difference, and where in a clip something sounds little. No batch norm: a clip has the same
    vector in any company, in training too.

    Args:
        sample_rate: in Hz, of the waveforms. num_samples: what it listens to; longer clips are cut, shorter ones padded
            with silence. n_fft, hop_length: in samples. n_mels: bands.
        channels: of the convolutions' levels; each halves bands and columns, after the third only bands.
        width: E of the vector. num_masks: bands and times hidden in training, of each (SpecAugment, Park et al. 2019).

    Raises:
        InputError: less than one window of samples, or fewer bands than the levels halve.
    """

    is_frozen = False

    def __init__(
        self,
        sample_rate: int = 16_000,
        num_samples: int = 16_000,
        n_fft: int = 512,
        hop_length: int = 160,
        n_mels: int = 64,
        channels: tuple[int, ...] = (32, 64, 96, 128),
        width: int = 256,
        num_masks: int = 2,
    ) -> None:
        super().__init__()
        if num_samples < n_fft:
            raise InputError(f"conditioner.sound.num_samples {num_samples}: give at least one window, {n_fft}")
        if n_mels % 2 ** len(channels):
            raise InputError(
                f"conditioner.sound.n_mels {n_mels}: {len(channels)} levels halve it; give a multiple of "
                f"{2 ** len(channels)}"
            )
        self.register_buffer("filterbank", mel_filterbank(sample_rate, n_fft, n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        levels: list[nn.Module] = []
        for level, (above, below) in enumerate(zip((1, *channels), channels, strict=False)):
            stride = (2, 2) if level < 3 else (2, 1)
            levels += [nn.Conv2d(above, below, 3, stride, 1), nn.GELU(), ResidualConv(below)]
        self.levels = nn.Sequential(*levels)
        self.to_columns = nn.Sequential(
            nn.Linear(channels[-1] * (n_mels >> len(channels)), width), nn.LayerNorm(width), nn.GELU()
        )
        self.weigh = nn.Linear(width, width)
        self.to_embedding = nn.Linear(2 * width, width)

    @property
    def width(self) -> int:
        """E of its vectors."""
        return self.config.width

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, S) -> (B, n_mels, T) in -1 (80 dB below the loudest cell, or silence) to 1."""
        missing = self.config.num_samples - waveform.shape[-1]
        waveform = F.pad(waveform.float(), (0, missing))  # a negative number cuts
        with torch.autocast(waveform.device.type, enabled=False):
            window, filterbank, hop_length = self.window.float(), self.filterbank.float(), self.config.hop_length
            full_scale = window.sum() / 2
            power = mel_spectrogram(
                waveform, filterbank, window, hop_length, full_scale=full_scale, power=2, pad_mode="constant"
            )
            level = 10 * power.clamp(min=1e-14).log10()
        top = level.amax(dim=(1, 2), keepdim=True).clamp(min=QUIETEST_DB)
        return ((level - top) / RANGE_DB).clamp(min=-1) * 2 + 1

    def embed(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Waveforms (B, S) in [-1, 1] -> (B, width), of length 1; gradients flow.

        generator: for the masks; None, and evaluation mode, mask nothing.
        """
        x = self.log_mel(waveform)
        if self.training and generator is not None:
            x = self._masked(x, generator)
        x = self.levels(x.unsqueeze(1).to(self.weigh.weight.dtype))  # (B, C, bands, columns)
        columns = self.to_columns(x.flatten(1, 2).transpose(1, 2))  # (B, columns, width)
        mean = (self.weigh(columns).softmax(dim=1) * columns).sum(dim=1)
        return F.normalize(self.to_embedding(torch.cat([mean, columns.amax(dim=1)], dim=-1)).float(), dim=-1)

    def _masked(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, n_mels, T) with stripes up to an eighth of either side made silent, drawn for each."""
        for dim in (1, 2):
            size = x.shape[dim]
            places = torch.arange(size, device=x.device)
            for _ in range(self.config.num_masks):
                drawn = torch.rand(2, len(x), 1, generator=generator).to(x.device)
                first = drawn[0] * size
                hidden = (places >= first) & (places < first + drawn[1] * size / 8)  # (B, size)
                x = x.masked_fill(hidden.unsqueeze(3 - dim), -1.0)
        return x
