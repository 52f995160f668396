"""What a published encoder hears in a sound: one vector, kept where a sound will be asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.conditioning.frozen_encoder import FrozenEncoder, one_line, recall
from synesthete.io import digest
from synesthete.nn.part import Part
from synesthete.types import InputError

FIELD = "conditioner.sound.model"


class SoundTower(FrozenEncoder):
    """A frozen encoder of sounds at `sample_rate` Hz, each of which goes through alone.

    settings: what else decides its vectors.
    """

    cache: ClassVar[str]  # the folder of the cache

    def __init__(self, model: str, sample_rate: int, **settings: Any) -> None:
        super().__init__(model, FIELD)
        self.sample_rate, self.settings = sample_rate, settings

    def embed_audio(self, waveform: Tensor, *, keep: bool = False) -> Tensor:
        """Waveforms (B, S) -> (B, E) float32 of length 1, on their device."""
        sounds = [np.trim_zeros(samples, "b") for samples in waveform.detach().float().cpu().numpy()]
        told = [self.model, self.digest, self.sample_rate, *self.settings.values()]
        keys = [digest(samples, told, size=16) for samples in sounds]

        def hear(places: list[int]) -> Iterator[Tensor]:
            return (F.normalize(self._hear(sounds[place], waveform.device), dim=-1) for place in places)

        return torch.stack(recall(self.cache, keys, hear, keep=keep)).to(waveform.device)

    def resampled(self, samples: np.ndarray[Any, Any], rate: int) -> np.ndarray[Any, Any]:
        """A sound (S,) at the rate that the network hears at."""
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
    width: int

    def __init__(self, tower: SoundTower) -> None:
        super().__init__()
        self.tower = tower

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


def read_config(config: Any, model: str, folder: Path, kind: str) -> Any:
    """The settings in a model's folder as transformers' class of them; kind: what messages call such a model.

    Raises:
        InputError: damaged, or those of another kind of model.
    """
    with one_line(model, kind, FIELD):
        settings, _ = config.get_config_dict(folder)
        if settings.get("model_type") != config.model_type:
            raise InputError(f"a {settings.get('model_type') or 'model without a type'}")
        return config.from_pretrained(folder)
