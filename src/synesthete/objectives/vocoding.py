"""What a vocoder minimises: a log-mel in, sound out whose spectrograms are those of the sound it was taken of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from synesthete.objectives.denoising import Objective, Parts
from synesthete.types import Batch, InputError

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
        true, guess = (magnitudes(sound, resolution) for sound in (real, made))
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


# A log-mel below this is the noise of 16 bits: exact silence, which the network cannot and need not make, is as good.
QUIETEST = math.log(1e-4)
# Of the discriminator: a quarter of a window from frame to frame, since what it sees costs more than what is compared.
DISCRIMINATOR_RESOLUTIONS = ((1024, 256, 1024), (2048, 512, 2048), (512, 128, 512))


class Vocoding(Objective):
    """Teaches the network of a `VocoderCodec` to turn log-mels back into the sound that they were taken of.

    - spectral_convergence, log_magnitude: the multi-resolution STFT loss (Yamamoto et al. 2020).
    - mel: mean absolute error of the log-mel, in nepers (HiFi-GAN, Kong et al. 2020).
    - adversarial, features, discriminator: of a `SpectrogramDiscriminator` (Jang et al. 2021), where it is asked for,
      with the hinge loss; mel and STFT alone leave a buzz where the phase is free.

    The discriminator learns in the same optimiser step: `loss` is the sum of both sides' losses, the vocoder's taken
    through a copy of the discriminator that holds no gradient, the discriminator's on detached sound. So neither
    moves the other's weights, and the discriminator is checkpointed and resumed as every weight of an objective.
    The gradient clip is of both together.

    Args:
        crop: samples of each piece that a step is shown, cut out anew each time; None shows all.
        stft_weight, mel_weight: of the spectral terms.
        adversarial_weight: of the discriminator's verdict; 0 is without a discriminator. feature_weight: of the
            distance of its layers' outputs.
        resolutions: (n_fft, hop_length, window length) of the STFT loss, in samples.
        discriminator_resolutions: the same of the discriminator, with longer hops. discriminator_channels: its width.
    """

    def __init__(
        self,
        crop: int | None = 16_384,
        stft_weight: float = 1.0,
        mel_weight: float = 1.0,
        adversarial_weight: float = 0.0,
        feature_weight: float = 0.2,
        resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
        discriminator_resolutions: tuple[tuple[int, int, int], ...] = DISCRIMINATOR_RESOLUTIONS,
        discriminator_channels: int = 16,
    ) -> None:
        super().__init__()
        self.crop, self.stft_weight, self.mel_weight = crop, stft_weight, mel_weight
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        self.resolutions, self.discriminator = resolutions, None
        if adversarial_weight:
            self.discriminator = SpectrogramDiscriminator(discriminator_resolutions, discriminator_channels)

    def attach(self, parts: Parts) -> Objective:
        """As every objective.

        Raises:
            InputError: a codec without a vocoder of its own, or one that the stage does not train.
        """
        if not parts.codec.has_vocoder:
            raise InputError(
                f"a {type(parts.codec).__name__} has no vocoder that vocoding could train; give the recipe a "
                "VocoderCodec, or leave the stage out"
            )
        if not any(parameter.requires_grad for parameter in parts.codec.parameters()):
            raise InputError("vocoding trains the codec alone; set the stage's train to ['codec']")
        return super().attach(parts)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """{"loss", and the terms by name}; all draws come from `generator`.

        Raises:
            InputError: a batch of x_0, which holds no sound to compare with.
        """
        if batch.encoded:
            raise InputError("vocoding learns from waveforms, and these data keep x_0 alone; train on other data")
        codec = self.parts.codec
        real = self._cut(batch.signal, generator)  # (B, S)
        with torch.no_grad():
            log_mel = codec.log_mel(real)
        made = codec.vocode(log_mel, real.shape[-1])
        if self.training:
            codec.trained.fill_(True)
        with torch.autocast(real.device.type, enabled=False):
            distance = spectral_distance(real, made, self.resolutions)
            mel = (codec.log_mel(made).clamp(min=QUIETEST) - log_mel.clamp(min=QUIETEST)).abs().mean()
            terms = {"spectral_convergence": distance.convergence, "log_magnitude": distance.log_magnitude, "mel": mel}
            loss = self.stft_weight * sum(distance) + self.mel_weight * mel
        if self.discriminator is not None:
            terms |= adversarial_terms(self.discriminator, real, made)
            loss = loss + self.adversarial_weight * terms["adversarial"]
            loss = loss + self.feature_weight * terms["features"] + terms["discriminator"]
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _cut(self, waveform: Tensor, generator: torch.Generator) -> Tensor:
        """A run of `crop` samples of each waveform (B, S), from a place of its own."""
        length = waveform.shape[-1]
        if self.crop is None or self.crop >= length:
            return waveform.float()
        starts = torch.randint(length - self.crop + 1, (len(waveform), 1), generator=generator)
        places = (starts + torch.arange(self.crop)).to(waveform.device)
        return waveform.gather(1, places).float()


def adversarial_terms(discriminator: SpectrogramDiscriminator, real: Tensor, made: Tensor) -> dict[str, Tensor]:
    """The three terms of a discriminator, with their gradients."""
    both = discriminator(torch.cat([real, made.detach()]))
    of_real = [[output[: len(real)] for output in outputs] for outputs in both]
    of_made = [[output[len(real) :] for output in outputs] for outputs in both]
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    seen = functional_call(discriminator, fixed, (made,))
    return {
        # What the vocoder minimises against it: the verdict with its sign turned.
        "adversarial": -torch.stack([outputs[-1].float().mean() for outputs in seen]).mean(),
        "features": feature_distance(of_real, seen),
        "discriminator": hinge(of_real, of_made),
    }
