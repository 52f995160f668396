"""Sound without its highs, as channels beside x_0: what an upsampler is told."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.conditioning.conditioner import Conditioner
from synesthete.nn.spectrum import check_waveform, complex_spectrum, compressed, grid
from synesthete.types import AudioSpec, Condition, InputError

# As shares of the Nyquist frequency: a resampler's filter falls over about its last tenth, so no sound is whole there.
END, SLOPE = 0.95, 0.1
TYPICAL_DB, SPREAD_DB = -40.0, 20.0
TYPICAL_MODULUS = 0.1  # of compressed cells


class LowBand(Conditioner):
    """Waveforms (B, S) at the full rate -> their spectrogram below low_rate / 2 as `Condition.spatial` (B, C, H, W).

    The first channel (two where `kind` is "complex") is the spectrogram on the codec's grid, a full-scale sine at 0 dB,
    in units that depend on no corpus: (dB + 40) / 20, or compressed cells over 0.1. Whatever the waveform holds from
    low_rate / 2 up is cut away, so a low-rate recording that was resampled says the same as the sound it was made from.
    The last channel is the place of each bin: 1 where the band is given, and from 0 to -1 with frequency above it,
    since convolutions do not know how high they are. The null is silence.

    In training mode the band ends, and how steeply, at random, as recordings do, and the spectrogram is noisy
    (conditioning augmentation, Ho et al. 2021, section 4); both are drawn from the generator that `encode` is given. In
    evaluation mode, and without one, nothing is random.

    Args:
        num_samples, sample_rate, n_fft, hop_length, num_bins, num_frames, multiple, kind, floor_db, power: of the
            spectrogram, as `StftCodec` has them; shorter waveforms are padded with silence.
        low_rate: of the sound that is given, in Hz.
        variation: in training, by how much of itself the band may end earlier, and fall.
        noise: in training, the largest standard deviation of what is added to the spectrogram, in its own unit
            (20 dB).
        size: (H, W) that the channels are averaged to, for a denoiser of latents; None is the spectrogram's own grid.

    Raises:
        InputError: a low rate that leaves nothing above it or nothing below, or a share or level out of range.
    """

    reads = "sound"

    def __init__(
        self,
        num_samples: int = 128_000,
        sample_rate: int = 32_000,
        n_fft: int = 480,
        hop_length: int = 288,
        num_bins: int | None = None,
        num_frames: int | None = None,
        multiple: int = 1,
        low_rate: int = 8_000,
        kind: Literal["magnitude", "complex"] = "magnitude",
        floor_db: float = -80.0,
        power: float = 0.5,
        variation: float = 0.2,
        noise: float = 0.1,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if min(num_samples, n_fft, hop_length, multiple, num_bins or 1, num_frames or 1) < 1:
            raise InputError("conditioner: sizes, n_fft, hop_length and multiple are counts; give at least 1")
        if not n_fft * low_rate >= 8 * sample_rate or low_rate >= sample_rate:
            raise InputError(
                f"conditioner.low_rate {low_rate}: give one under sample_rate {sample_rate}, and at least "
                f"{-(-8 * sample_rate // n_fft)}, of which a window of {n_fft} shows four bins"
            )
        if not 0 <= variation < 1 or noise < 0:
            raise InputError(
                f"conditioner.variation {variation}, noise {noise}: give 0 <= variation < 1 and noise >= 0"
            )
        self.spec = AudioSpec(sample_rate, n_fft, hop_length)
        self._grid = grid(self.spec, num_samples, num_bins, num_frames, multiple)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        frequency = torch.arange(self._grid[0]) * (sample_rate / n_fft)
        band, top = low_rate / 2, sample_rate / 2
        place = torch.where(frequency < band, 1.0, (band - frequency) / (top - band))
        self.register_buffer("frequency", frequency / band, persistent=False)  # 1 is where the band ends
        self.register_buffer("place", place.view(1, 1, -1, 1))  # saved: diffusers loads no part without a tensor

    @property
    def spatial_channels(self) -> int:
        """C of what it says."""
        return 2 if self.config.kind == "magnitude" else 3

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it says of one sound."""
        return self.spatial_channels, *(self.config.size or self._grid)

    @property
    def silence(self) -> float:
        """The value of every cell without sound."""
        return (self.config.floor_db - TYPICAL_DB) / SPREAD_DB if self.config.kind == "magnitude" else 0.0

    @torch.no_grad()
    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: waveforms (B, S) in [-1, 1] at `sample_rate`, of the full band or of the low one.

        generator: for what is drawn in training; None draws nothing.

        Raises:
            InputError: no waveforms, longer than `num_samples`, or values that are not finite.
        """
        remedy = "upsample it by `synesthete.pipeline.cascade.upsample`, which does"
        check_waveform(raw, self.config.num_samples, "conditioner", remedy)
        whole = F.pad(raw, (0, self.config.num_samples - raw.shape[-1]))
        spectrum = complex_spectrum(whole, self.window, self.spec, self._grid[0])  # (B, num_bins, T), a sine at 1
        cells = self._cells(spectrum * self._response(len(raw), generator).to(raw.device))  # (B, C - 1, F, T)
        if self.training and generator is not None:
            level = self.config.noise * torch.rand(len(raw), 1, 1, 1, generator=generator)
            noisy = cells + (level * torch.randn(cells.shape, generator=generator)).to(cells.device)
            below = self.place == 1
            cells = torch.where(below, noisy.clamp(min=self.silence) if cells.shape[1] == 1 else noisy, cells)
        frames = self._grid[1]
        cells = F.pad(cells, (0, max(frames - cells.shape[-1], 0)), value=self.silence)[..., :frames]
        return self._placed(cells)

    def null(self, batch_size: int) -> Condition:
        """Silence, (batch_size, C, H, W)."""
        return self._placed(self.place.new_full((batch_size, self.spatial_channels - 1, *self._grid), self.silence))

    def _response(self, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """What is left of each bin's amplitude, (B, num_bins, 1) or (1, num_bins, 1): 1, half a cosine, then 0."""
        end, slope = torch.tensor([END]), torch.tensor([SLOPE])
        if self.training and generator is not None and self.config.variation:
            end, slope = self.config.variation * torch.rand(2, batch_size, generator=generator)
            end = 1 - end
        frequency = self.frequency.float().cpu()
        turn = ((frequency - end[:, None]) / slope[:, None].clamp(min=1e-3) + 1).clamp(0, 1)  # 0 .. 1 down the slope
        kept = (1 + torch.cos(torch.pi * turn)) / 2
        return torch.where(frequency < 1, kept, 0.0).unsqueeze(-1)

    def _cells(self, bins: Tensor) -> Tensor:
        """(B, num_bins, T) complex -> (B, 1, num_bins, T) of level, or (B, 2, num_bins, T), in their own units."""
        level = bins.abs()
        if self.config.kind == "magnitude":
            db = 20 * (level + 10 ** (self.config.floor_db / 20)).log10()
            return ((db - TYPICAL_DB) / SPREAD_DB).unsqueeze(1)
        return torch.view_as_real(compressed(bins, self.config.power)).movedim(-1, 1) / TYPICAL_MODULUS

    def _placed(self, cells: Tensor) -> Condition:
        """The cells and the place of each, on the grid that is asked for."""
        place = self.place.to(cells.dtype).expand(len(cells), 1, *self._grid)
        spatial = torch.cat([cells, place], dim=1)  # (B, C, F, T)
        if self.config.size is not None:
            spatial = F.interpolate(spatial, tuple(self.config.size), mode="area")
        return Condition(spatial=spatial)
