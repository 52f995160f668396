"""What a vocoder minimises: a log-mel in, sound out whose spectrograms are those of the sound it was taken of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

from synesthete.objectives.objective import Objective
from synesthete.objectives.spectrograms import (
    RESOLUTIONS,
    SpectrogramDiscriminator,
    feature_distance,
    hinge,
    persuasion,
    spectral_distance,
)
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.objectives.objective import Parts
    from synesthete.types import Batch

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
        codec = parts.codec
        if not hasattr(codec, "vocode"):
            raise InputError(
                f"a {type(codec).__name__} has no vocoder that vocoding could train; give the recipe a VocoderCodec, "
                "or leave the stage out"
            )
        if not any(parameter.requires_grad for parameter in codec.parameters()):
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
            terms |= self._classifier(self.discriminator, real, made)
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

    @staticmethod
    def _classifier(discriminator: SpectrogramDiscriminator, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The three terms of a discriminator, with their gradients."""
        both = discriminator(torch.cat([real, made.detach()]))
        of_real = [[output[: len(real)] for output in outputs] for outputs in both]
        of_made = [[output[len(real) :] for output in outputs] for outputs in both]
        fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        seen = functional_call(discriminator, fixed, (made,))
        return {
            "adversarial": persuasion(seen),
            "features": feature_distance(of_real, seen),
            "discriminator": hinge(of_real, of_made),
        }
