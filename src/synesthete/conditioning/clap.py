"""What a published CLAP hears in a sound: one vector, of the space that it shares with texts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import hub
from synesthete.conditioning import trial_towers
from synesthete.conditioning.frozen_encoder import FrozenEncoder, one_line, recall
from synesthete.io import digest
from synesthete.nn.part import Part
from synesthete.types import InputError

FIELD = "conditioner.sound.model"
CACHE = "clap"  # in the cache folder
# Widths of the shared space, as their config.json on the Hub say.
KNOWN = {
    "laion/larger_clap_music_and_speech": 512,
    "laion/larger_clap_general": 512,
    "laion/larger_clap_music": 512,
    "laion/clap-htsat-unfused": 512,
    "laion/clap-htsat-fused": 512,
    trial_towers.CLAP: trial_towers.CLAP_WIDTH,
}


class Clap(Part):
    """Waveforms (B, S) through the audio tower of a frozen CLAP -> (B, width), vectors of length 1.

    A sound is resampled to CLAP's rate (48 kHz) and fitted to its 10 s by its own feature extractor: shorter ones are
    repeated and padded, of longer ones a model without fusion hears the first 10 s and one with fusion the whole,
    shrunk, beside three parts of it. Where the extractor draws by chance, what it draws is fixed. Zeros at a sound's
    end are taken for what a batch was padded with. Each sound goes through alone, so a batch equals its singles to the
    bit. The encoder is found by its id when it is first needed; it is never trained and not saved.
    Source: Wu et al. 2023.

    Args:
        model: Hub id, or a folder with config.json, preprocessor_config.json and weights.
        sample_rate: in Hz, of the waveforms that are given.
        embedding_width: of the vectors; None finds it in the model's settings.

    Raises:
        InputError: a model whose settings are neither known nor found, or no CLAP.
    """

    is_frozen = True

    def __init__(
        self,
        model: str = "laion/larger_clap_music_and_speech",
        sample_rate: int = 48_000,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__()
        self.tower = ClapTower(model, sample_rate)
        if embedding_width is None:
            embedding_width = KNOWN.get(model)
            if embedding_width is None:
                folder = hub.find_weights(model, ("config.json",), field=FIELD)
                embedding_width = read_audio_config(model, folder).projection_dim
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(embedding_width=embedding_width)
        self.width = embedding_width

    def identity(self) -> dict[str, Any]:
        """What decides the vector of a waveform."""
        return {"model": self.config.model, "weights": self.tower.digest, "sample_rate": self.config.sample_rate}

    def embed(self, waveform: Tensor, *, keep: bool = False) -> Tensor:
        """Waveforms (B, S) -> (B, width) float32, without gradient; what is kept of a sound is not computed again.

        keep: write it to the cache folder; for sounds that will be asked for again, not for ever changing ones.

        Raises:
            InputError: no such model on this machine or the Hub, or one of another width.
        """
        found = self.tower.embed_audio(waveform, keep=keep)
        if found.shape[-1] != self.width:
            raise InputError(
                f"{self.config.model}: vectors {found.shape[-1]} wide, not {self.width}; "
                f"--set conditioner.sound.embedding_width={found.shape[-1]}"
            )
        return found


class ClapTower(FrozenEncoder):
    """The audio tower of a CLAP and its projection."""

    kind = "a CLAP"

    def __init__(self, model: str, sample_rate: int) -> None:
        super().__init__(model, FIELD)
        self.sample_rate = sample_rate

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

    def embed_audio(self, waveform: Tensor, *, keep: bool = False) -> Tensor:
        """Waveforms (B, S) -> (B, E) float32 on their device."""
        sounds = [np.trim_zeros(samples, "b") for samples in waveform.detach().float().cpu().numpy()]
        keys = [digest(samples, [self.model, self.digest, self.sample_rate], size=16) for samples in sounds]

        def hear(places: list[int]) -> Iterator[Tensor]:
            return (self._hear(sounds[place], waveform.device) for place in places)

        return torch.stack(recall(CACHE, keys, hear, keep=keep)).to(waveform.device)

    def _hear(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        """(S,) -> (E,)."""
        features, is_longer = self.features(samples)
        with self.exact(device) as network:
            heard = network(input_features=features.to(device), is_longer=is_longer.to(device)).audio_embeds
        return F.normalize(heard[0].float(), dim=-1)

    def features(self, samples: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        """A sound (S,) -> what the network takes: log-mels (1, 1 or 4, frames, bands), and whether it was too long."""
        extractor = self.extractor
        rate, most = extractor.sampling_rate, extractor.nb_max_samples
        if self.sample_rate != rate:
            samples = soxr.resample(samples, self.sample_rate, rate)
        if not samples.size:
            samples = np.zeros(most, dtype=np.float32)  # silence, which the extractor cannot repeat
        if extractor.truncation != "fusion":
            samples = samples[:most]
        state = np.random.get_state()  # of the global generator, from which the extractor draws
        np.random.seed(0)
        read = extractor(np.ascontiguousarray(samples), sampling_rate=rate, return_tensors="pt")
        np.random.set_state(state)
        # Of sounds that are all short enough, the extractor calls one too long, drawn at random; none is.
        is_longer = len(samples) // extractor.hop_length > most // extractor.hop_length
        return read["input_features"].float(), torch.tensor([[is_longer]])


def read_audio_config(model: str, folder: Path) -> Any:
    """The configuration of the audio tower in a model's folder."""
    from transformers import ClapConfig

    with one_line(model, ClapTower.kind, FIELD):
        settings, _ = ClapConfig.get_config_dict(folder)
        if settings.get("model_type") != "clap":
            raise InputError(f"a {settings.get('model_type') or 'model without a type'}")
        return ClapConfig.from_pretrained(folder).audio_config
