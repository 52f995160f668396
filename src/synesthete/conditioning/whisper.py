"""What a published Whisper hears in speech: one vector, of words rather than of who says them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import hub
from synesthete.conditioning.frozen_sound import FIELD, FrozenSound, SoundTower, read_config
from synesthete.types import InputError

# Widths of their encoders, as their config.json on the Hub say.
KNOWN = {
    f"openai/whisper-{size}{language}": width
    for size, width in {"tiny": 384, "base": 512, "small": 768}.items()
    for language in ("", ".en")
}
MOST_SECONDS = 30  # that it was trained to hear at once
SILENT = 1e-3  # length of a vector below which it stands for nothing heard


class Whisper(FrozenSound):
    """Waveforms (B, S) through the encoder of a frozen Whisper -> (B, width), vectors of length 1.

    The mean and the largest of what it says over time, each less what it says of silence, which is most of it, and of
    the same length, side by side: twice its width. A sound is resampled to 16 kHz and padded with silence, or cut, to
    `seconds`, which decide what it costs: the encoder was trained on 30 s; its places in time are the first of those.
    Source: Radford et al. 2022, section 2.2.

    Args:
        model: Hub id, or a folder with config.json, preprocessor_config.json and weights.
        sample_rate: in Hz, of the waveforms that are given.
        seconds: of a sound that are heard, 1 to 30.
        embedding_width: of the vectors; None finds it in the model's settings.

    Raises:
        InputError: seconds out of range, a model whose settings are neither known nor found, or no Whisper.
    """

    def __init__(
        self,
        model: str = "openai/whisper-base.en",
        sample_rate: int = 16_000,
        seconds: int = MOST_SECONDS,
        embedding_width: int | None = None,
    ) -> None:
        if not 1 <= seconds <= MOST_SECONDS:
            raise InputError(f"conditioner.sound.seconds {seconds}: Whisper hears 1 to {MOST_SECONDS} at once")
        super().__init__(WhisperTower(model, sample_rate, seconds=seconds))
        if embedding_width is None:
            width = KNOWN.get(model) or read_whisper_config(model).d_model
            embedding_width = 2 * width
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(embedding_width=embedding_width)
        self.width = embedding_width


class WhisperTower(SoundTower):
    """The encoder of a Whisper, cut to the seconds that it is to hear."""

    kind, cache = "a Whisper", "whisper"

    @cached_property
    def extractor(self) -> Any:
        """What makes log-mels of sounds, as the model's preprocessor_config.json says."""
        # Imported here, as below: most commands listen through no Whisper.
        from transformers import WhisperFeatureExtractor

        with self.reading():
            return WhisperFeatureExtractor.from_pretrained(self.folder, chunk_length=self.settings["seconds"])

    def _read_network(self) -> Any:
        from transformers import WhisperModel

        config = read_whisper_config(self.model)
        network = self.read(WhisperModel, config).encoder
        places = config.max_source_positions * self.settings["seconds"] // MOST_SECONDS
        network.config.max_source_positions = places
        network.embed_positions = nn.Embedding.from_pretrained(network.embed_positions.weight[:places])
        return network

    @cached_property
    def silence(self) -> Tensor:
        """What is heard of silence, (2, D)."""
        return self.over_time(np.zeros(0, np.float32), torch.device("cpu"))

    def _hear(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        heard = self.over_time(samples, device)
        return F.normalize(heard - self.silence.to(heard), dim=-1, eps=SILENT).flatten()

    def over_time(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        """A sound (S,) -> the mean and the largest of what the encoder says, (2, D) float32."""
        rate = self.extractor.sampling_rate
        read = self.extractor(self.resampled(samples, rate), sampling_rate=rate, return_tensors="pt")
        with self.exact(device) as network:
            heard = network(read["input_features"].float().to(device)).last_hidden_state[0]  # (frames, D)
        return torch.stack([heard.mean(dim=0), heard.amax(dim=0)])


def read_whisper_config(model: str) -> Any:
    """The configuration in a model's folder."""
    from transformers import WhisperConfig

    folder = hub.find_weights(model, ("config.json",), field=FIELD)
    return read_config(WhisperConfig, model, folder, WhisperTower.kind)
