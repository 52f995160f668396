"""Sounds compared by their spectrograms at several resolutions, for a phase that no ear could tell costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# (n_fft, hop_length, window length) in samples, as published for 24 kHz (Yamamoto et al. 2020).
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
# Power of a cell that counts as silence: about that of the noise of 16 bits in a window of 1024 samples.
QUIETEST_POWER = 1e-7
SLOPE = 0.1


class SpectralDistance(NamedTuple):
    """Of two sounds: the error of magnitudes as a share of the real ones, and the mean error of their logarithms."""

    convergence: Tensor
    log_magnitude: Tensor


def magnitudes(waveform: Tensor, resolution: tuple[int, int, int]) -> Tensor:
    """Waveform (B, S) -> |STFT| (B, n_fft / 2 + 1, T), nowhere 0, so that its root and its logarithm have gradients."""
    n_fft, hop_length, length = resolution
    window = torch.hann_window(length, device=waveform.device)
    stft = torch.stft(waveform, n_fft, hop_length, length, window, return_complex=True)
    return (stft.real.square() + stft.imag.square()).clamp(min=QUIETEST_POWER).sqrt()


def spectral_distance(
    real: Tensor, made: Tensor, resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS
) -> SpectralDistance:
    """Multi-resolution STFT distance of waveforms (B, S), the mean over resolutions.

    Source: Parallel WaveGAN, Yamamoto et al. 2020; spectral convergence from Arik et al. 2019.
    """
    found = []
    for resolution in resolutions:
        true, guess = magnitudes(real, resolution), magnitudes(made, resolution)
        convergence = (true - guess).norm() / true.norm()
        found.append(torch.stack([convergence, (true.log() - guess.log()).abs().mean()]))
    return SpectralDistance(*torch.stack(found).mean(dim=0))


class SpectrogramDiscriminator(nn.Module):
    """Tells real sound from made, patch by patch of its spectrogram at each resolution.

    Source: UnivNet, Jang et al. 2021, with the same kind of layers. Their strides run over frequency, as in EnCodec,
    Défossez et al. 2022, which keeps the frames that a click or a buzz is in; the first has one too, for half the cost.

    Args:
        resolutions: as `spectral_distance` takes them. channels: width of every layer.
    """

    def __init__(self, resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS, channels: int = 32) -> None:
        super().__init__()
        self.resolutions = tuple(resolutions)
        self.discriminators = nn.ModuleList(PatchDiscriminator(channels) for _ in self.resolutions)

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        """(B, S) -> for each resolution, the output of every layer; the last is the verdict (B, 1, bins, frames)."""
        return [
            classifier(magnitudes(waveform, resolution).unsqueeze(1) / resolution[2] ** 0.5)
            for classifier, resolution in zip(self.discriminators, self.resolutions, strict=True)
        ]


class PatchDiscriminator(nn.Module):
    """Convolutions over the spectrogram of one resolution, strided over frequency."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (1, channels, channels, channels)
        layers = [nn.Conv2d(width, channels, (9, 3), stride=(2, 1), padding=(4, 1)) for width in widths]
        layers.append(nn.Conv2d(channels, channels, (3, 3), padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.out = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """A spectrogram (B, 1, bins, frames) -> the output of every layer."""
        outputs = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
        return [*outputs, self.out(x)]


def hinge(real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """What the discriminator minimises: verdicts of real sound above 1, of made sound below -1 (Lim & Ye 2017)."""
    pairs = zip(real, made, strict=True)
    return torch.stack([F.relu(1 - r[-1].float()).mean() + F.relu(1 + m[-1].float()).mean() for r, m in pairs]).mean()


def persuasion(made: Sequence[Sequence[Tensor]]) -> Tensor:
    """What the vocoder minimises against it: the verdict with its sign turned."""
    return -torch.stack([outputs[-1].float().mean() for outputs in made]).mean()


def feature_distance(real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute error of all layers' outputs but the last, each as a share of the real ones' size.

    Source: Défossez et al. 2022, after Larsen et al. 2016.
    """
    errors = []
    for own, other in zip(real, made, strict=True):
        for true, guess in zip(own[:-1], other[:-1], strict=True):
            true = true.detach()
            errors.append((true - guess).abs().float().mean() / true.abs().float().mean().clamp(min=1e-6))
    return torch.stack(errors).mean()
