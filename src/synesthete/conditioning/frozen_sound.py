"""What a published encoder hears in a sound: one vector, kept where a sound will be asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import hub
from synesthete.conditioning import trial_towers
from synesthete.conditioning.frozen_encoder import FrozenEncoder, recall
from synesthete.io import digest
from synesthete.nn.part import Part
from synesthete.types import InputError

FIELD = "conditioner.sound.model"
MOST_SECONDS = 30  # that Whisper was trained to hear at once
SILENT = 1e-3  # length of a vector of Whisper's below which it stands for nothing heard


class SoundTower(FrozenEncoder):
    """A frozen encoder of sounds at `sample_rate` Hz, one at a time; settings: what else decides its vectors."""

    cache: ClassVar[str]  # the folder of the cache
    build: ClassVar[str]  # as the names of transformers' classes begin
    known: ClassVar[dict[str, int]]  # widths of vectors, as their config.json on the Hub say
    extracting: ClassVar[dict[str, str]] = {}  # arguments of the extractor, and the settings that they are

    def __init__(self, model: str, sample_rate: int, **settings: Any) -> None:
        super().__init__(model, FIELD)
        self.sample_rate, self.settings = sample_rate, settings

    @cached_property
    def extractor(self) -> Any:
        """What makes log-mels of sounds, as the model's preprocessor_config.json says."""
        import transformers  # here: most commands listen through no published encoder

        how = {argument: self.settings[name] for argument, name in self.extracting.items()}
        with self.reading():
            return getattr(transformers, f"{self.build}FeatureExtractor").from_pretrained(self.folder, **how)

    @cached_property
    def config(self) -> Any:
        """The settings in the model's folder, a small file."""
        import transformers

        folder = trial_towers.find_trial(self.model) or hub.find_weights(self.model, ("config.json",), field=FIELD)
        kind = getattr(transformers, f"{self.build}Config")
        with self.reading():
            settings, _ = kind.get_config_dict(folder)
            if settings.get("model_type") != kind.model_type:
                raise InputError(f"a {settings.get('model_type') or 'model without a type'}")
            return kind.from_pretrained(folder)

    def embed_audio(self, waveform: Tensor, *, keep: bool = False) -> Tensor:
        """Waveforms (B, S) -> (B, E) float32 of length 1, on their device."""
        sounds = [np.trim_zeros(samples, "b") for samples in waveform.detach().float().cpu().numpy()]
        told = [self.model, self.digest, self.sample_rate, *self.settings.values()]
        keys = [digest(samples, told, size=16) for samples in sounds]

        def hear(places: list[int]) -> Iterator[Tensor]:
            return (F.normalize(self._hear(sounds[place], waveform.device), dim=-1) for place in places)

        return torch.stack(recall(self.cache, keys, hear, keep=keep)).to(waveform.device)

    def resampled(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A sound (S,) at the rate that the network hears at."""
        rate = self.extractor.sampling_rate
        return samples if rate == self.sample_rate else soxr.resample(samples, self.sample_rate, rate)

    def _hear(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        """A sound (S,), which may be empty -> (E,) float32."""
        raise NotImplementedError


class FrozenSound(Part):
    """Waveforms (B, S) through a published encoder -> (B, width), vectors of length 1; never trained, not saved.

    The encoder is found by its id when it is first needed. Zeros at a sound's end are taken for what a batch was padded
    with. Each sound goes through alone, so a batch equals its singles to the bit.
    """

    is_frozen = True

    def __init__(self, tower: Any, width: int | None) -> None:
        super().__init__()
        self.tower = tower
        if width is None:
            width = tower.known.get(tower.model) or tower.width
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(embedding_width=width)
        self.width = width

    def identity(self) -> dict[str, Any]:
        """What decides the vector of a waveform."""
        own = {"model": self.tower.model, "weights": self.tower.digest, "sample_rate": self.tower.sample_rate}
        return own | self.tower.settings

    def embed(self, waveform: Tensor, *, keep: bool = False) -> Tensor:
        """Waveforms (B, S) -> (B, width) float32, without gradient; what is kept of a sound is not computed again.

        keep: write it to the cache folder; for sounds that will be asked for again, not for ever changing ones.

        Raises:
            InputError: no such model on this machine or the Hub, or one of another width.
        """
        found = self.tower.embed_audio(waveform, keep=keep)
        if found.shape[-1] != self.width:
            raise InputError(
                f"{self.tower.model}: vectors {found.shape[-1]} wide, not {self.width}; "
                f"--set conditioner.sound.embedding_width={found.shape[-1]}"
            )
        return found


class ClapTower(SoundTower):
    """The audio tower of a CLAP and its projection."""

    kind, cache, build = "a CLAP", "clap", "Clap"
    known: ClassVar = {
        "laion/larger_clap_music_and_speech": 512,
        "laion/larger_clap_general": 512,
        "laion/larger_clap_music": 512,
        "laion/clap-htsat-unfused": 512,
        "laion/clap-htsat-fused": 512,
        trial_towers.CLAP: trial_towers.CLAP_WIDTH,
    }

    @property
    def width(self) -> int:
        """Of its vectors, in the space that it shares with texts, as its settings say."""
        return self.config.audio_config.projection_dim

    def _read_network(self) -> Any:
        from transformers import ClapAudioModelWithProjection

        return self.read(ClapAudioModelWithProjection, self.config.audio_config)

    def _hear(self, samples: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        features, is_longer = self.features(samples)
        with self.exact(device) as network:
            heard = network(input_features=features.to(device), is_longer=is_longer.to(device)).audio_embeds
        return heard[0].float()

    def features(self, samples: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        """A sound (S,) -> what the network takes: log-mels (1, 1 or 4, frames, bands), and whether it was too long."""
        extractor = self.extractor
        most = extractor.nb_max_samples
        samples = self.resampled(samples)
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
        super().__init__(ClapTower(model, sample_rate), embedding_width)


class WhisperTower(SoundTower):
    """The encoder of a Whisper, cut to the seconds that it is to hear."""

    kind, cache, build, extracting = "a Whisper", "whisper", "Whisper", {"chunk_length": "seconds"}
    known: ClassVar = {
        f"openai/whisper-{size}{language}": 2 * width
        for size, width in {"tiny": 384, "base": 512, "small": 768}.items()
        for language in ("", ".en")
    }

    @property
    def width(self) -> int:
        """Of its vectors, twice that of what it says, as its settings have it."""
        return 2 * self.config.d_model

    def _read_network(self) -> Any:
        from transformers import WhisperModel

        network = self.read(WhisperModel, self.config).encoder
        places = self.config.max_source_positions * self.settings["seconds"] // MOST_SECONDS
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
        read = self.extractor(self.resampled(samples), sampling_rate=rate, return_tensors="pt")
        with self.exact(device) as network:
            heard = network(read["input_features"].float().to(device)).last_hidden_state[0]  # (frames, D)
        return torch.stack([heard.mean(dim=0), heard.amax(dim=0)])


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
        super().__init__(WhisperTower(model, sample_rate, seconds=seconds), embedding_width)
