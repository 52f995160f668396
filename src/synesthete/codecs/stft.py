"""Short-time Fourier spectrograms of sound, at any rate: magnitudes in dB, or complex ones that need no phase guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.codecs.codec import Codec, measure_channels, spectrogram_images
from synesthete.nn.spectrum import check_waveform, complex_spectrum, compressed, grid, griffin_lim
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from PIL import Image

LOUDEST_DB = 20.0  # above a full-scale sine by more than any recording: a wild sample cannot overflow
# Spread given to bands that are everywhere as loud, or silent but for a click, which would be 50 spreads high: in dB of
# magnitudes; of complex cells, how far under the floor the sound is that has such a modulus.
LEAST_DB, BELOW_FLOOR_DB = 3.0, 20.0


class StftCodec(Codec):
    """Waveform (B, S) in [-1, 1] <-> normalised spectrogram x_0 (B, C, num_bins, num_frames), low frequencies first.

    0 dB is a sine of amplitude 1. "magnitude" is one channel in dB, whose phase Griffin-Lim guesses: of |z| plus the
    floor's amplitude, so that silence is `floor_db`, and a network that is a little off there whispers 90 dB below full
    scale and not 80. "complex" is two channels, the real and the imaginary part of z / |z| * |z|^power
    (power-compressed, as in Braun & Tashev 2021), which decode without a guess.

    x_0 is that minus `mean`, divided by `scale`, two buffers which `fit` measures on a corpus, so that level survives
    and they are saved with the model. Bins and frames that the grid has no room for come back as silence; those that it
    has too many are silence, too. Where windows overlap by less than two thirds, so do samples at the very end that
    only the edge of the last window touches, no more than `hop_length` - `n_fft` / 3.

    Args:
        num_samples: length of every waveform, in samples; 128,000 at 32 kHz are 4 s.
        n_fft: even. hop_length: at most 3/4 of it, where the inverse makes no error five times as large.
        num_bins, num_frames: the grid; None takes all there are, padded to whole multiples of `multiple`.
        scaling: "corpus" is one number for all cells, "band" one for each bin, so that faint highs weigh as much as
            loud lows; "sample" maps each sample's own minimum and maximum to -1 and 1 and loses its level: every
            decoded sound spans the corpus' mean range, and its faintest cell is silence.
        floor_db: of magnitudes, below 0. power: exponent of complex cells; the lower, the fewer outliers (0.3 of music
            has a twentieth of the fourth moment that 0.5 has).
        num_iterations: of Griffin-Lim when decoding magnitudes.

    Raises:
        InputError: a size or a multiple under 1, an odd window, a hop that leaves windows next to no overlap, a floor
            that is not below 0 dB, or a power not in (0, 1].
    """

    def __init__(
        self,
        num_samples: int = 128_000,
        sample_rate: int = 32_000,
        n_fft: int = 480,
        hop_length: int = 288,
        num_bins: int | None = None,
        num_frames: int | None = None,
        kind: Literal["magnitude", "complex"] = "magnitude",
        scaling: Literal["corpus", "band", "sample"] = "corpus",
        floor_db: float = -80.0,
        power: float = 0.5,
        multiple: int = 1,
        num_iterations: int = 32,
    ) -> None:
        super().__init__()
        sizes = (num_samples, n_fft, hop_length, multiple, num_bins, num_frames)
        if any(size is not None and size < 1 for size in sizes):
            raise InputError("codec: sizes, n_fft, hop_length and multiple are counts; give at least 1")
        if n_fft % 2:
            raise InputError(f"codec.n_fft {n_fft}: a window needs a middle sample; give an even number")
        if 4 * hop_length > 3 * n_fft:
            raise InputError(
                f"codec.hop_length {hop_length}: windows of {n_fft} would hardly overlap; give {3 * n_fft // 4} at most"
            )
        if not 0 < power <= 1 or not floor_db < 0:
            raise InputError(f"codec.power {power}, floor_db {floor_db}: give 0 < power <= 1 and a floor below 0 dB")
        self.spec = AudioSpec(sample_rate, n_fft, hop_length)
        self._grid = grid(self.spec, num_samples, num_bins, num_frames, multiple)
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window, persistent=False)
        self.reference = window.sum().item() / 2  # what a sine of amplitude 1 reaches
        bands = self._grid[0] if scaling == "band" else 1
        typical = (-40.0, 20.0) if kind == "magnitude" else (0.0, 0.1)
        self.register_buffer("mean", torch.full((bands, 1), typical[0]))
        self.register_buffer("scale", torch.full((bands, 1), typical[1]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one x_0: (1 or 2, num_bins, num_frames)."""
        return (2 if self.config.kind == "complex" else 1, *self._grid)

    @property
    def silence(self) -> Tensor:
        """x_0 of silence, (C, num_bins or 1, 1): the padding of every clip."""
        if self.config.kind == "complex":
            return self.mean.new_zeros(2, 1, 1)
        if self.config.scaling == "sample":
            return self.mean.new_full((1, 1, 1), -1.0)
        return ((self.config.floor_db - self.mean.float()) / self.scale.float()).unsqueeze(0)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) -> complex STFT (B, num_bins, T) on the grid's bins, a full-scale sine at 1."""
        return complex_spectrum(waveform, self.window, self.spec, self._grid[0])

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> StftCodec:
        """Measure `mean` and `scale` on batches of waveforms (B, S): mean and standard deviation of all cells or bands.

        Of complex cells the mean is 0, and stays so. With scaling "sample" they are the centre and half the width of
        the mean range instead.
        """
        mean, scale = measure_channels(map(self._measured, waveforms), least=0.0)
        if self.config.scaling == "sample":
            mean, scale = mean[:1], mean[1:]
        elif self.config.kind == "complex":
            mean, scale = 0 * mean, (mean.square() + scale.square()).sqrt()
        least = LEAST_DB
        if self.config.kind == "complex":
            least = 10 ** ((self.config.floor_db - BELOW_FLOOR_DB) / 20 * self.config.power)
        self.mean.copy_(mean.squeeze(-1))
        self.scale.copy_(scale.squeeze(-1).clamp(min=least))
        return self

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S), shorter ones padded with silence -> x_0 (B, C, num_bins, num_frames)."""
        cells = self._cells(waveform)  # (B, C, num_bins, T)
        if self.config.scaling == "sample":
            low, high = self._range(cells)
            x_0 = (cells - (low + high) / 2) / ((high - low) / 2).clamp(min=1e-6)
            x_0 = x_0.where(high > low, self.silence.to(x_0))
        else:
            x_0 = self.normalise(cells)
        missing = self._grid[1] - x_0.shape[-1]
        return torch.cat([x_0, self.silence.to(x_0).expand(len(x_0), *self.shape[:2], missing)], dim=-1)

    def decibels(self, x_0: Tensor) -> Tensor:
        """x_0 (B, C, num_bins, T) -> the level of each cell in dB (B, num_bins, T), `floor_db` where it is silent."""
        cells = self.denormalise(x_0)
        if self.config.kind == "magnitude":
            return cells.squeeze(1).clamp(self.config.floor_db, LOUDEST_DB)
        return self._to_db(torch.linalg.vector_norm(cells, dim=1) ** (1 / self.config.power)).clamp(max=LOUDEST_DB)

    @torch.no_grad()
    def decode(
        self, x_0: Tensor, generators: Sequence[torch.Generator] | None = None, num_samples: int | None = None
    ) -> Tensor:
        """x_0 (B, C, num_bins, T) of any number of frames -> waveform (B, num_samples).

        generators: one a sample, for the phases that Griffin-Lim starts from. num_samples: None is the codec's own for
            the codec's own number of frames, else as many as the frames hold.
        """
        self.check(x_0, any_number_of="frames")
        if num_samples is None:
            own = x_0.shape[-1] == self._grid[1]
            num_samples = self.config.num_samples if own else self.spec.num_samples(x_0.shape[-1])
        length = self.num_covered(num_samples)
        if length < 1:
            return torch.zeros(len(x_0), num_samples, device=x_0.device)
        waveform = self._invert(x_0, self.spec.num_frames(num_samples), length, generators)
        return F.pad(waveform, (0, num_samples - length))

    def num_covered(self, num_samples: int) -> int:
        """How many of that many samples decoding gives; those beyond are silent.

        Nearer to its edge than a sixth of it, a window alone would make any error large.
        """
        return min(num_samples, self.spec.num_samples(self.spec.num_frames(num_samples)) + self.spec.n_fft // 3)

    def magnitude(self, x_0: Tensor) -> Tensor:
        """x_0 (B, 1, num_bins, T) of kind "magnitude" -> amplitudes (B, num_bins, T), a full-scale sine at 1."""
        quiet = self.denormalise(self.silence.unsqueeze(0)).squeeze(1)  # (1, num_bins or 1, 1) dB
        db = self.denormalise(x_0).squeeze(1).clamp(max=LOUDEST_DB)
        return (10 ** (db / 20) - 10 ** (quiet / 20)).clamp(min=0)

    def whole(self, cells: Tensor, num_frames: int) -> Tensor:
        """(B, num_bins, T), a full-scale sine at 1 -> an STFT (B, n_fft / 2 + 1, num_frames) as torch has it.

        What has no place on the grid is silent.
        """
        bins = self.spec.n_fft // 2 + 1
        missing = (0, max(num_frames - cells.shape[2], 0), 0, max(bins - cells.shape[1], 0))
        return F.pad(cells, missing)[:, :bins, :num_frames] * self.reference

    def pictures(self, x_0: Tensor, scale: int = 1) -> list[Image.Image]:
        """Each x_0 of (B, C, num_bins, T) as a picture, low frequencies at the bottom, silence dark."""
        shade = 1 - self.decibels(x_0) / self.config.floor_db  # (B, num_bins, T), 0 dB is 1
        return spectrogram_images(shade, scale)

    def _cells(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) as it is given -> what is normalised, (B, C, num_bins, T), T no more than the grid's."""
        check_waveform(waveform, self.config.num_samples)
        cells = self.spectrum(F.pad(waveform, (0, self.config.num_samples - waveform.shape[-1])))[..., : self._grid[1]]
        if self.config.kind == "magnitude":
            return self._to_db(cells.abs()).unsqueeze(1)
        return torch.view_as_real(compressed(cells, self.config.power)).movedim(-1, 1)

    def _measured(self, waveform: Tensor) -> Tensor:
        """What `fit` averages, a channel for each number of `mean`; of ranges, their centres and half their widths."""
        cells = self._cells(waveform)
        match self.config.scaling:
            case "corpus":
                return cells.flatten(1)[:, None, None]  # (B, 1, 1, C * num_bins * T)
            case "band":
                return cells.transpose(1, 2)  # (B, num_bins, C, T)
        low, high = self._range(cells)
        return torch.cat([high + low, high - low], dim=1) / 2  # (B, 2, 1, 1)

    def _range(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest cell of each sample, (B, 1, 1, 1); of complex ones, about 0."""
        if self.config.kind == "complex":
            high = cells.abs().amax(dim=(1, 2, 3), keepdim=True)
            return -high, high
        return cells.amin(dim=(1, 2, 3), keepdim=True), cells.amax(dim=(1, 2, 3), keepdim=True)

    def _to_db(self, level: Tensor) -> Tensor:
        return 20 * (level + 10 ** (self.config.floor_db / 20)).log10()

    def _invert(
        self, x_0: Tensor, num_frames: int, length: int, generators: Sequence[torch.Generator] | None
    ) -> Tensor:
        """x_0 (B, C, num_bins, T) -> waveform (B, length) of `num_frames` frames, silent ones after those there are."""
        settings = {"window": self.window.float(), "hop_length": self.spec.hop_length}
        if self.config.kind == "magnitude":
            return griffin_lim(
                self.whole(self.magnitude(x_0), num_frames),
                num_samples=length,
                num_iterations=self.config.num_iterations,
                pad_mode="constant",
                generators=generators,
                **settings,
            )
        cells = self.denormalise(x_0)
        packed = torch.complex(cells[:, 0], cells[:, 1])
        limit = 10 ** (LOUDEST_DB / 20 * self.config.power)
        whole = compressed(packed * (limit / packed.abs().clamp(min=limit)), 1 / self.config.power)
        return torch.istft(self.whole(whole, num_frames), self.spec.n_fft, length=length, **settings)
