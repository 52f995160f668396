"""Log-mel spectrograms at any rate, with a vocoder that is trained here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from synesthete import hub
from synesthete.codecs.mel import LogMelCodec
from synesthete.codecs.vocos import Vocos
from synesthete.nn.layers import load_weights
from synesthete.types import AudioSpec, InputError

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
