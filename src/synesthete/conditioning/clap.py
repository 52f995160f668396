"""What a published CLAP hears in a sound: one vector, of the space that it shares with texts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning import trial_towers
from synesthete.conditioning.frozen_sound import FIELD, FrozenSound, SoundTower, read_config

# Widths of the shared space, as their config.json on the Hub say.
KNOWN = {
    "laion/larger_clap_music_and_speech": 512,
    "laion/larger_clap_general": 512,
    "laion/larger_clap_music": 512,
    "laion/clap-htsat-unfused": 512,
    "laion/clap-htsat-fused": 512,
    trial_towers.CLAP: trial_towers.CLAP_WIDTH,
}


class Clap(FrozenSound):
    """Waveforms (B, S) through the audio tower of a frozen CLAP -> (B, width), vectors of length 1.

    A sound is resampled to CLAP's rate (48 kHz) and fitted to its 10 s by its own feature extractor: shorter ones are
    repeated and padded, of longer ones a model without fusion hears the first 10 s and one with fusion the whole,
    shrunk, beside three parts of it. Where the extractor draws by chance, what it draws is fixed.
    Source: Wu et al. 2023.

    Args:
        model: Hub id, or a folder with config.json, preprocessor_config.json and weights.
        sample_rate: in Hz, of the waveforms that are given.
        embedding_width: of the vectors; None finds it in the model's settings.

    Raises:
        InputError: a model whose settings are neither known nor found, or no CLAP.
    """

    def __init__(
        self,
        model: str = "laion/larger_clap_music_and_speech",
        sample_rate: int = 48_000,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(ClapTower(model, sample_rate))
        if embedding_width is None:
            embedding_width = KNOWN.get(model)
            if embedding_width is None:
                folder = hub.find_weights(model, ("config.json",), field=FIELD)
                embedding_width = read_audio_config(model, folder).projection_dim
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(embedding_width=embedding_width)
        self.width = embedding_width


class ClapTower(SoundTower):
    """The audio tower of a CLAP and its projection."""

    kind, cache = "a CLAP", "clap"

    @cached_property
    def extractor(self) -> Any:
        """What makes log-mels of sounds, as the model's preprocessor_config.json says."""
        # Imported here, as below: most commands listen through no CLAP.
        from transformers import ClapFeatureExtractor

        with self.reading():
            return ClapFeatureExtractor.from_pretrained(self.folder)

    def _read_network(self) -> Any:
        from transformers import ClapAudioModelWithProjection

        return self.read(ClapAudioModelWithProjection, read_audio_config(self.model, self.folder))

    def _hear(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        features, is_longer = self.features(samples)
        with self.exact(device) as network:
            heard = network(input_features=features.to(device), is_longer=is_longer.to(device)).audio_embeds
        return heard[0].float()

    def features(self, samples: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        """A sound (S,) -> what the network takes: log-mels (1, 1 or 4, frames, bands), and whether it was too long."""
        extractor = self.extractor
        most = extractor.nb_max_samples
        samples = self.resampled(samples, extractor.sampling_rate)
        if not samples.size:
            samples = np.zeros(most, dtype=np.float32)  # silence, which the extractor cannot repeat
        if extractor.truncation != "fusion":
            samples = samples[:most]
        state = np.random.get_state()  # of the global generator, from which the extractor draws
        np.random.seed(0)
        read = extractor(np.ascontiguousarray(samples), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        np.random.set_state(state)
        # Of sounds that are all short enough, the extractor calls one too long, drawn at random; none is.
        is_longer = len(samples) // extractor.hop_length > most // extractor.hop_length
        return read["input_features"].float(), torch.tensor([[is_longer]])


def read_audio_config(model: str, folder: Path) -> Any:
    """The configuration of the audio tower in a model's folder."""
    from transformers import ClapConfig

    return read_config(ClapConfig, model, folder, ClapTower.kind).audio_config
