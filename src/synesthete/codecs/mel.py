"""Log-mel spectrograms of sound: for published vocoders, and at any rate with a vocoder that is trained here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import hub
from synesthete.codecs.codec import Codec, measure_channels, spectrogram_images
from synesthete.codecs.vocoders import HifiGan, Vocos, check_vocos, without_hifigan
from synesthete.hub import PICKLED, find_weights, local_weights
from synesthete.nn import spectrum
from synesthete.nn.layers import load_weights
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from PIL import Image

TO_DB = 20 / math.log(10)  # from nepers, which a log-mel is in
LEAST_SPREAD = 1e-3  # that is divided by, of bands or coefficients that are everywhere the same


class LogMelCodec(Codec):
    """Base of the codecs of log-mels: waveform (B, S) in [-1, 1] <-> normalised log-mel x_0 (B, 1, n_mels, num_frames).

    The log-mel is |STFT| (Hann, centred) through triangles of height 1 on the spec's mel scale, then
    log(max(mel, floor)), as in Vocos, Siuzdak 2023 (`charactr/vocos-mel-24khz`), there on HTK's. x_0 is that minus
    `mean`, divided by `scale`: two buffers which `fit` measures on a corpus, so they are saved with the model. Silence
    is `silence`, everywhere the same number.

    With `whitening` x_0 is the orthonormal DCT of every frame's bands (a cepstrum), each coefficient centred and
    divided by the `whitening`-th power of its own spread; all of them together have the spread 1. Harmonics, 0.4% of
    the variance of spoken words' log-mels, are a quarter of it at 0.5, so that a square error sees them. `mean` and
    `scale` are then (n_mels, 1), and silence is one column.

    Those derived from it have the fields num_samples, floor, num_iterations (of Griffin-Lim) and whitening beside the
    spec's, and say by `_find_vocoder` what decodes.
    """

    def __init__(self, spec: AudioSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("filterbank", spectrum.bands_of(spec), persistent=False)
        self.register_buffer("inverse", spectrum.inverse_bands(spec), persistent=False)
        self.register_buffer("window", torch.hann_window(spec.n_fft), persistent=False)
        whitening = self.config.whitening
        if not 0 <= whitening <= 1:
            raise InputError(f"codec.whitening {whitening}: give a power from 0, which is off, to 1")
        self.register_buffer("basis", spectrum.cosine_basis(spec.n_mels) if whitening else None, persistent=False)
        mean = torch.tensor(-8.0)
        self.register_buffer("mean", self._rotate(mean.expand(spec.n_mels, 1)) if whitening else mean)
        self.register_buffer("scale", torch.full_like(self.mean, 4.0))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one x_0: (1, n_mels, num_frames)."""
        return 1, self.spec.n_mels, self.spec.num_frames(self.config.num_samples)

    @property
    def silence(self) -> float | Tensor:
        """The value of x_0 wherever there is no sound, of whitened ones (1, n_mels, 1); the padding of every clip."""
        quiet = self._normalise(torch.full((1, self.spec.n_mels, 1), self.config.floor).log().to(self.mean))
        return quiet[0] if self.config.whitening else quiet[0, 0, 0].item()

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) -> log-mel (B, n_mels, T), not normalised."""
        hop_length = self.spec.hop_length
        mel = spectrum.mel_spectrogram(waveform.float(), self.filterbank.float(), self.window.float(), hop_length)
        return mel.clamp(min=self.config.floor).log()

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> Self:
        """Measure `mean` and `scale` (the standard deviation, or what whitening makes of it) on waveforms (B, S)."""
        power = self.config.whitening
        rows = (self._rotate(self.log_mel(batch).double()) for batch in waveforms)  # (B, n_mels, T)
        mean, spread = measure_channels((one if power else one.unsqueeze(1) for one in rows), LEAST_SPREAD)
        together = spread.pow(1 - power).square().mean().sqrt()
        self.mean.copy_(mean.view_as(self.mean))
        self.scale.copy_((spread**power * together).view_as(self.scale))
        return self

    def _rotate(self, log_mel: Tensor) -> Tensor:
        """Bands (..., n_mels, T) -> their DCT where there is whitening, in the precision they have."""
        if self.basis is None:
            return log_mel
        with torch.autocast(log_mel.device.type, enabled=False):
            return self.basis.to(log_mel) @ log_mel

    def _normalise(self, log_mel: Tensor) -> Tensor:
        """Log-mel (B, n_mels, T) -> x_0 (B, 1, n_mels, T)."""
        return (self._rotate(log_mel).unsqueeze(1) - self.mean) / self.scale

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S), shorter ones padded with silence -> x_0 (B, 1, n_mels, num_frames)."""
        spectrum.check_waveform(waveform, self.config.num_samples)
        waveform = F.pad(waveform, (0, self.config.num_samples - waveform.shape[-1]))
        return self._normalise(self.log_mel(waveform))

    def denormalise(self, x_0: Tensor) -> Tensor:
        """x_0 (B, 1, n_mels, T) -> the log-mel it stands for, (B, n_mels, T)."""
        values = x_0.float().squeeze(1)
        values = values * self.scale.to(values) + self.mean.to(values)
        if self.basis is None:
            return values
        with torch.autocast(values.device.type, enabled=False):
            return self.basis.T.to(values) @ values

    def decibels(self, x_0: Tensor) -> Tensor:
        """x_0 (B, 1, n_mels, T) -> the level of each cell in dB (B, n_mels, T)."""
        return TO_DB * self.denormalise(x_0)

    @torch.no_grad()
    def decode(
        self, x_0: Tensor, generators: Sequence[torch.Generator] | None = None, num_samples: int | None = None
    ) -> Tensor:
        """x_0 (B, 1, n_mels, T) of any number of frames -> waveform (B, num_samples) by `vocoder_in_use`.

        generators: one a sample, for the phases that Griffin-Lim starts from; a network draws nothing. num_samples:
            None is the codec's own, or as many as the frames hold where these are more than its own; what is missing is
            silent.

        Raises:
            InputError: the vocoder that was asked for cannot be had, or was trained on another log-mel.
        """
        if num_samples is None:
            num_samples = max(self.config.num_samples, self.spec.num_samples(x_0.shape[-1]))
        # Two e-folds above the loudest sine is louder than any recording: a wild sample cannot overflow exp.
        log_mel = self.denormalise(x_0).clamp(max=8.0)  # (B, n_mels, T)
        vocoder = self._find_vocoder()
        if vocoder is None:
            return spectrum.griffin_lim(
                self.magnitude((log_mel.exp() - self.config.floor).clamp(min=0)),
                self.window.float(),
                self.spec.hop_length,
                num_samples=num_samples,
                num_iterations=self.config.num_iterations,
                generators=generators,
            )
        floor, missing = math.log(self.config.floor), self.spec.num_frames(num_samples) - log_mel.shape[-1]
        log_mel = F.pad(log_mel.clamp(min=floor), (0, missing), value=floor)  # (B, n_mels, T)
        with torch.autocast(log_mel.device.type, enabled=False):
            return vocoder.to(log_mel.device)(log_mel, num_samples)

    def _find_vocoder(self) -> nn.Module | None:
        """The network that decodes; None for Griffin-Lim."""
        raise NotImplementedError

    def pictures(self, x_0: Tensor, scale: int = 2) -> list[Image.Image]:
        """Each x_0 of (B, 1, n_mels, T) as a picture, low bands at the bottom, silence dark, `scale` pixels a cell."""
        # From 70 dB below the loudest speech up: what lies under it cannot be heard and would take most of the colours.
        log_mel = self.denormalise(x_0)
        return spectrogram_images((log_mel + 3.0) / 8.0, scale)

    def magnitude(self, mel: Tensor, num_updates: int = 30) -> Tensor:
        """Non-negative |STFT| (B, F, T) whose mel is nearest to `mel` (B, n_mels, T).

        From the pseudo-inverse by multiplicative updates, which keep it non-negative (Lee & Seung 2001).
        """
        bank = self.filterbank.float()
        magnitude = (self.inverse.float() @ mel).clamp(min=1e-8)
        numerator = bank.T @ mel
        for _ in range(num_updates):
            # Twice by the bank: n_mels is so much less than F that their product costs more.
            magnitude = magnitude * numerator / (bank.T @ (bank @ magnitude)).clamp(min=1e-10)
        return magnitude


class MelCodec(LogMelCodec):
    """Waveform (B, S) in [-1, 1] <-> normalised log-mel x_0 (B, 1, n_mels, num_frames), for published vocoders.

    Args:
        num_samples: length of every waveform, in samples; 72,000 (3 s) gives 282 frames.
        floor: smallest mel magnitude, before the logarithm; the published one is 1e-7, which is -16.118.
        num_iterations: of Griffin-Lim when decoding.
        vocoder: "vocos" and "hifigan" decode with the network, downloaded if need be; "auto" with Vocos where that is
            on this machine and was trained on this log-mel, else by Griffin-Lim. Its weights are no part of the
            codec's.
        vocos, hifigan: folder or Hub id of its weights; of HiFi-GAN also the one file of several.
        whitening: power of their spread by which the coefficients of a DCT over the bands are divided; 0 leaves bands.
        mel_scale, fmax: of the bands, as `AudioSpec` has them; HiFi-GAN's are Slaney's up to 8 kHz.
    """

    def __init__(
        self,
        num_samples: int = 72_000,
        sample_rate: int = 24_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        floor: float = 1e-7,
        num_iterations: int = 32,
        vocoder: Literal["auto", "griffin-lim", "vocos", "hifigan"] = "auto",
        vocos: str = "charactr/vocos-mel-24khz",
        whitening: float = 0.0,
        mel_scale: Literal["htk", "slaney"] = "htk",
        fmax: float | None = None,
        hifigan: str | None = None,
    ) -> None:
        super().__init__(AudioSpec(sample_rate, n_fft, hop_length, n_mels, mel_scale, fmax))
        # None until the first decode; in a tuple, so no part of this
        self._vocoder: tuple[nn.Module | None] | None = None

    @property
    def vocoder_in_use(self) -> str:
        """What turns x_0 into sound on this machine, in words, and why; nothing is loaded or downloaded for it."""
        griffin_lim, choice = f"Griffin-Lim, {self.config.num_iterations} iterations", self.config.vocoder
        if choice == "griffin-lim":
            return griffin_lim
        reason = self._without_network()
        if choice == "auto" and reason:
            return f"{griffin_lim} ({reason})"
        name, weights = ("HiFi-GAN", self.config.hifigan) if choice == "hifigan" else ("Vocos", self.config.vocos)
        return f"{name} ({reason or weights})"

    def _without_network(self) -> str:
        """Why the network cannot decode with what is on this machine; empty where it can."""
        if self.config.vocoder == "hifigan":
            return without_hifigan(self.config.hifigan, self.spec, self.config.floor)
        folder = local_weights(self.config.vocos, PICKLED)
        if folder is None:
            return f"{self.config.vocos} is not on this machine"
        try:
            check_vocos(folder, self.spec)
        except InputError as error:
            return str(error)
        return ""

    def _find_vocoder(self) -> nn.Module | None:
        if self._vocoder is None:
            self._vocoder = (self._load_vocoder(),)
        return self._vocoder[0]

    def _load_vocoder(self) -> nn.Module | None:
        choice = self.config.vocoder
        if choice == "griffin-lim" or (choice == "auto" and self._without_network()):
            return None
        if choice == "hifigan":
            return HifiGan.load(self.config.hifigan, self.spec, self.config.floor)
        folder = find_weights(self.config.vocos, PICKLED, field="codec.vocos")
        check_vocos(folder, self.spec)
        return Vocos.load(folder)


PREFIX = "network."  # of the vocoder's weights among the codec's
FIELD = "codec.weights"
# Nepers, of every bin before training. From 0, louder than any sound, the first steps only learn to be quiet: the loss
# on spoken digits was 2.8 after 300 steps, from -3 it was 2.0; -5 is a little better still.
FIRST_LOG_MAGNITUDE = -5.0


class VocoderCodec(LogMelCodec):
    """Waveform (B, S) in [-1, 1] <-> normalised log-mel x_0 (B, 1, n_mels, num_frames), with a vocoder of its own.

    As `MelCodec`, for rates and frames that have no published vocoder: `network`, a `Vocos` of any size, is a part of
    the codec, trained by `objectives.Vocoding` and saved with it. Until it is trained, Griffin-Lim decodes. It reads
    the log-mel and not x_0, so it stays right when `mean` and `scale` are measured on other data.

    Args:
        num_samples: length of every waveform, in samples; 128,000 (4 s) gives 251 frames.
        floor: smallest mel magnitude, before the logarithm.
        num_iterations: of Griffin-Lim, where that decodes.
        vocoder: "network", or "griffin-lim" to compare with.
        dim, intermediate_dim, num_layers: of the network, as `Vocos` has them.
        weights: where its network is trained already: a run, a model, a saved codec, or what `network.save_pretrained`
            wrote; `fit` reads it. None: fresh weights.
        whitening: as of `MelCodec`.

    Raises:
        InputError: frames that `Vocos` refuses.
    """

    has_vocoder = True
    trained: Tensor

    def __init__(
        self,
        num_samples: int = 128_000,
        sample_rate: int = 32_000,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        floor: float = 1e-7,
        num_iterations: int = 32,
        vocoder: Literal["network", "griffin-lim"] = "network",
        dim: int = 384,
        intermediate_dim: int = 1152,
        num_layers: int = 8,
        weights: str | None = None,
        whitening: float = 0.0,
    ) -> None:
        super().__init__(AudioSpec(sample_rate, n_fft, hop_length, n_mels))
        # The same fresh weights wherever they are made: those of the process that measured the codec are kept with it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = Vocos(sample_rate, n_fft, hop_length, n_mels, dim, intermediate_dim, num_layers)
        nn.init.constant_(self.network.head.out.bias[: n_fft // 2 + 1], FIRST_LOG_MAGNITUDE)
        self.register_buffer("trained", torch.tensor(False))

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> Self:
        """Measure `mean` and `scale` on batches of waveforms (B, S); read `weights`, where there are some.

        Raises:
            InputError: weights that are not there, are damaged, or are of another network.
        """
        if self.config.weights is not None:
            load_vocoder(self.network, self.config.weights)
            self.trained.fill_(True)
        return super().fit(waveforms)

    def vocode(self, log_mel: Tensor, num_samples: int | None = None) -> Tensor:
        """Log-mel (B, n_mels, T) -> waveform (B, num_samples) by the network, with gradients; None: (T - 1) hops."""
        return self.network(log_mel, num_samples)

    @property
    def vocoder_in_use(self) -> str:
        """What turns x_0 into sound, in words, and why."""
        if self._find_vocoder() is not None:
            size = sum(parameter.numel() for parameter in self.network.parameters())
            return f"a Vocos network of its own, {size / 1e6:.1f}M parameters"
        griffin_lim = f"Griffin-Lim, {self.config.num_iterations} iterations"
        return griffin_lim if self.config.vocoder == "griffin-lim" else f"{griffin_lim} (its network is not trained)"

    def _find_vocoder(self) -> Vocos | None:
        return self.network if self.config.vocoder == "network" and bool(self.trained) else None


def load_vocoder(network: Vocos, name: str) -> None:
    """The weights of a trained vocoder into a network of the same frames and size.

    name: as `VocoderCodec.weights`.
    """
    folder = find_vocoder(name)
    tensors = hub.read_weights(folder)
    if any(key.startswith(PREFIX) for key in tensors):  # a whole codec
        config = VocoderCodec.load_config(str(folder))
        if not tensors.get("trained", torch.tensor(True)):
            raise InputError(f"{name}: its vocoder has not been trained; train it, or give another {FIELD}")
        tensors = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    else:
        config = Vocos.load_config(str(folder))
    for field, own in network.config.items():
        if field in config and not field.startswith("_") and config[field] != own:
            raise InputError(
                f"{name}: a vocoder of {field} {config[field]}, the codec's is {own}; "
                f"--set codec.{field}={config[field]}"
            )
    load_weights(network, tensors, f"{name}: its weights are not this vocoder's ({{}}); give another {FIELD}")


def find_vocoder(name: str) -> Path:
    """The folder with the weights of a vocoder: that of a model's codec, or of the network alone."""
    folder = hub.local_weights(name, hub.WEIGHTS)
    if folder is not None and (folder / "config.json").is_file():
        return folder
    return hub.find_model(name) / "codec"
