"""Log-mel spectrograms of sound, equal to the features that the Vocos 24 kHz vocoder was trained on."""

from __future__ import annotations

from typing import Literal

from synesthete.codecs.log_mel import LogMelCodec
from synesthete.codecs.vocos import Vocos, check_vocos
from synesthete.hub import PICKLED, find_weights, local_weights
from synesthete.types import AudioSpec, InputError


class MelCodec(LogMelCodec):
    """Waveform (B, S) in [-1, 1] <-> normalised log-mel x_0 (B, 1, n_mels, num_frames), for published vocoders.

    Args:
        num_samples: length of every waveform, in samples; 72,000 (3 s) gives 282 frames.
        floor: smallest mel magnitude, before the logarithm; the published one is 1e-7, which is -16.118.
        num_iterations: of Griffin-Lim when decoding.
        vocoder: "vocos" decodes with the network, downloaded if need be; "auto" where it is on this machine and was
            trained on this log-mel, else by Griffin-Lim. Its weights are no part of the codec's.
        vocos: folder or Hub id of its weights.
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
        vocoder: Literal["auto", "griffin-lim", "vocos"] = "auto",
        vocos: str = "charactr/vocos-mel-24khz",
    ) -> None:
        super().__init__(AudioSpec(sample_rate, n_fft, hop_length, n_mels))
        self._vocos: tuple[Vocos | None] | None = None  # None until the first decode; in a tuple, so no part of this

    @property
    def vocoder_in_use(self) -> str:
        """What turns x_0 into sound on this machine, in words, and why; nothing is loaded or downloaded for it."""
        griffin_lim = f"Griffin-Lim, {self.config.num_iterations} iterations"
        if self.config.vocoder == "griffin-lim":
            return griffin_lim
        reason = self._without_vocos()
        if self.config.vocoder == "auto" and reason:
            return f"{griffin_lim} ({reason})"
        return f"Vocos ({reason or self.config.vocos})"

    def _without_vocos(self) -> str:
        """Why Vocos cannot decode with what is on this machine; empty where it can."""
        folder = local_weights(self.config.vocos, PICKLED)
        if folder is None:
            return f"{self.config.vocos} is not on this machine"
        try:
            check_vocos(folder, self.spec)
        except InputError as error:
            return str(error)
        return ""

    def _find_vocoder(self) -> Vocos | None:
        if self._vocos is None:
            self._vocos = (self._load_vocos(),)
        return self._vocos[0]

    def _load_vocos(self) -> Vocos | None:
        choice = self.config.vocoder
        if choice == "griffin-lim" or (choice == "auto" and self._without_vocos()):
            return None
        folder = find_weights(self.config.vocos, PICKLED, field="codec.vocos")
        check_vocos(folder, self.spec)
        return Vocos.load(folder)
