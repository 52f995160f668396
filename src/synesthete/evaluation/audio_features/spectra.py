"""The log-mel that sound is evaluated and drawn by, whatever the codec; how loud octaves are, and signals apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.audio import as_float
from synesthete.nn.spectrum import mel_filterbank, mel_spectrogram
from synesthete.pipeline.cascade import CROSSING
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Pieces, Rows

    Sounds: TypeAlias = Tensor | Rows | Pieces

__all__ = ["SignalDifference", "signal_difference"]

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


LOWEST = 31.25  # Hz
THIRDS = 3  # bands of an octave
RESOLUTION = 0.1  # seconds of a window; the next power of two in samples
LEAST_DB = -80.0  # under the whole of the real sounds: fainter than that, a band is not heard
NUM_SPLITS = 20
BATCH_SIZE = 16


def third_edges(sample_rate: int) -> Tensor:
    """Edges (k + 1,) in Hz of bands a third of an octave wide, from LOWEST up to half the sample rate."""
    num = math.ceil(THIRDS * math.log2(sample_rate / 2 / LOWEST) - 1e-9)
    edges = LOWEST * 2 ** (torch.arange(num + 1) / THIRDS)
    return edges.clamp(max=sample_rate / 2)


def third_power(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Mean power (B, k) float64 of sounds (B, S) float in each third of an octave; their sum is the mean square."""
    n_fft = window_size(sample_rate, RESOLUTION)
    energy = n_fft * torch.hann_window(n_fft).square().sum()
    power = stft(waveforms, n_fft, n_fft // 4).abs().square().double().mean(dim=-1) * 2 / energy  # (B, bins)
    frequencies, edges = torch.fft.rfftfreq(n_fft, 1 / sample_rate), third_edges(sample_rate)
    band = torch.bucketize(frequencies, edges, right=True) - 1
    band[frequencies == edges[-1]] = len(edges) - 2
    inside = (band >= 0) & (band < len(edges) - 1)
    found = torch.zeros(len(power), len(edges) - 1, dtype=torch.float64)
    return found.index_add_(1, band[inside], power[:, inside])


def octave_power(thirds: Tensor) -> Tensor:
    """Power (n, octaves) from that of thirds (n, k); the last octave may end early, at half the sample rate."""
    missing = -thirds.shape[1] % THIRDS
    return F.pad(thirds, (0, missing)).unflatten(1, (-1, THIRDS)).sum(dim=2)


def octave_names(sample_rate: int) -> list[str]:
    """`31 to 62 Hz`, and so on up to half the sample rate."""
    edges = third_edges(sample_rate)
    lows = edges[:-1:THIRDS].tolist()
    highs = [*lows[1:], edges[-1].item()]
    return [f"{low:.0f} to {high:.0f} Hz" for low, high in zip(lows, highs, strict=True)]


def profile(power: Tensor, least: float = 0.0) -> Tensor:
    """Mean power of a set (n, k) in dB, (k,); no less than the power `least`."""
    return 10 * power.mean(dim=0).clamp(min=max(least, 1e-15)).log10()


def band_differences(made: Tensor, real: Tensor) -> Tensor:
    """How much louder each band of a set (n, k) is than the real one's (m, k), in dB, (k,); silent under LEAST_DB."""
    least = real.mean(dim=0).sum().item() * 10 ** (LEAST_DB / 10)
    return profile(made, least) - profile(real, least)


def band_error(made: Tensor, real: Tensor) -> float:
    """The largest absolute difference of an octave's level, in dB, of sets of power in thirds (n, k) and (m, k)."""
    return band_differences(octave_power(made), octave_power(real)).abs().max().item()


def band_floor(real: Tensor, seed: int) -> float:
    """Mean `band_error` of two random halves of real sounds (n, k); NaN of fewer than two."""
    half, generator = len(real) // 2, seeding.generator(seed, "octave bands")
    if not half:
        return math.nan
    orders = [torch.randperm(len(real), generator=generator) for _ in range(NUM_SPLITS)]
    errors = [band_error(real[order[:half]], real[order[half : 2 * half]]) for order in orders]
    return sum(errors) / NUM_SPLITS


def cut_or_padded(waveforms: Tensor, num_samples: int) -> Tensor:
    """(n, S) cut, or padded with silence, to (n, num_samples): resampling may round to a sample more or less."""
    return F.pad(waveforms, (0, max(num_samples - waveforms.shape[-1], 0)))[..., :num_samples]


def spectra(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Complex STFT (B, F, T) of sounds (B, S), a full-scale sine at 1."""
    n_fft, hop_length = frame_sizes(sample_rate)
    return stft(waveforms, n_fft, hop_length) / (torch.hann_window(n_fft).sum() / 2)


def spectral_distances(real: Tensor, made: Tensor, sample_rate: int, low_rate: int) -> dict[str, Tensor]:
    """Log-spectral distance (n,) in dB of each sound (n, S), above the band's end, in all, and below where it is given.

    The root mean square over bins of the difference in level, then the mean over frames (Gray & Markel 1976).
    """
    frequency, band = torch.fft.rfftfreq(frame_sizes(sample_rate)[0], 1 / sample_rate), low_rate / 2
    parts = {"above": frequency >= band, "all": frequency >= 0, "below": frequency < CROSSING[0] * band}
    found: dict[str, list[Tensor]] = {name: [] for name in parts}
    for a, b in zip(real.split(BATCH_SIZE), made.split(BATCH_SIZE), strict=True):
        difference = decibels(spectra(a, sample_rate)) - decibels(spectra(b, sample_rate))  # (B, F, T)
        for name, inside in parts.items():
            found[name].append(difference[:, inside].square().mean(dim=1).sqrt().mean(dim=1))
    return {name: torch.cat(values) for name, values in found.items()}


def decibels(spectrum: Tensor) -> Tensor:
    """Level in dB, no lower than FLOOR_DB."""
    return 20 * spectrum.abs().clamp(min=10 ** (FLOOR_DB / 20)).log10()


def mean_spectrum(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Root mean square magnitude of each bin (F,) over sounds (n, S)."""
    parts = (spectra(part, sample_rate).abs().square() for part in waveforms.split(BATCH_SIZE))
    total = reduce(torch.add, (power.mean(dim=2).sum(dim=0) for power in parts))
    return (total / len(waveforms)).sqrt()


def spectral_copy(given: Tensor, sample_rate: int, low_rate: int, tilt: Tensor) -> Tensor:
    """Sounds (n, S) with the upper half of their band copied upwards again and again, scaled by a `mean_spectrum`."""
    n_fft, hop_length = frame_sizes(sample_rate)
    end = int(CROSSING[1] * low_rate / 2 * n_fft / sample_rate)
    first = end // 2
    source = torch.arange(len(tilt))
    source[end:] = first + (source[end:] - first) % (end - first)
    gain = tilt / tilt[source].clamp(min=1e-12)
    window, found = torch.hann_window(n_fft), []
    for part in given.split(BATCH_SIZE):
        copied = stft(part, n_fft, hop_length)[:, source] * gain[:, None]
        found.append(torch.istft(copied, n_fft, hop_length, window=window, length=given.shape[-1]))
    return torch.cat(found)


@dataclass(frozen=True)
class SignalDifference:
    """An estimate against its reference, over every value of both.

    mean_absolute, largest: in the values' own unit; mean_square in its square. snr_db: power of the reference over that
    of the error, in dB. pearson: correlation; NaN where one of them is constant.
    """

    mean_absolute: float
    mean_square: float
    largest: float
    snr_db: float
    pearson: float


def signal_difference(reference: Tensor, estimate: Tensor) -> SignalDifference:
    """The figures of a round trip; InputError of other shapes, or of no values."""
    if reference.shape != estimate.shape or not reference.numel():
        raise InputError(f"cannot compare {tuple(reference.shape)} with {tuple(estimate.shape)}; give equal shapes")
    a, b = reference.double().flatten(), estimate.double().flatten()
    error = b - a
    power, noise = a.square().mean().item(), error.square().mean().item()
    snr = math.inf if noise == 0 else 10 * math.log10(power / noise) if power else -math.inf
    a, b = a - a.mean(), b - b.mean()
    norm = (a.norm() * b.norm()).item()
    pearson = (a @ b).item() / norm if norm else math.nan
    return SignalDifference(error.abs().mean().item(), noise, error.abs().max().item(), snr, pearson)
