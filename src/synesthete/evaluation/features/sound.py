"""Features of sounds: the statistics of their spectra, and a published CLAP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import torch
from torch.nn import functional as F

from synesthete import hub
from synesthete.conditioning.vision import one_line
from synesthete.evaluation.audio_features.spectra import band_statistics, log_mel, parts
from synesthete.evaluation.features.network import read_network
from synesthete.nn.device import find_device

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds

CLAP = "laion/larger_clap_music_and_speech"


class SpectrumFeatures:
    """Mean and deviation over time of every band of a log-mel, standardised over real pieces: no network at all.

    Args:
        sample_rate: in Hz. real: pieces (n, S), at least 2, that a feature is 0 +- 1 over.
    """

    name = "log-mel statistics"

    def __init__(self, sample_rate: int, real: Sounds) -> None:
        self.sample_rate = sample_rate
        found = self._measured(real)
        self.mean, self.scale = found.mean(dim=0), found.std(dim=0).clamp(min=0.1)  # dB

    def __call__(self, samples: Sounds) -> Tensor:
        """Sounds (n, S), int16 or float in [-1, 1] -> (n, 128)."""
        return (self._measured(samples) - self.mean) / self.scale

    def _measured(self, samples: Sounds) -> Tensor:
        return torch.cat([band_statistics(log_mel(part, self.sample_rate)) for part in parts(samples)])


class ClapFeatures:
    """The sound's vector in the space that CLAP shares between sounds and text (Wu et al. 2023), of length 1.

    Sounds are resampled to CLAP's own rate; what is longer than it listens to (10 s) is cut.

    Args:
        sample_rate: in Hz, of the sounds. model: a Hub id, or a folder with config.json, preprocessor_config.json and
            weights. device: where it is computed.

    Raises:
        InputError: weights that are neither here nor to be had, or of another kind.
    """

    def __init__(self, sample_rate: int, model: str | Path = CLAP, device: str = "auto") -> None:
        # Imported here: most evaluations listen through no CLAP.
        from transformers import ClapFeatureExtractor, ClapModel

        model = str(model)
        self.sample_rate, self.name = sample_rate, Path(model).name
        folder = hub.find_weights(model, hub.PICKLED)
        with one_line(model, "a CLAP"):
            self.extractor: Any = ClapFeatureExtractor.from_pretrained(folder)
        self.network = read_network(ClapModel, model, folder, "a CLAP").to(find_device(device))

    @torch.no_grad()
    def __call__(self, samples: Sounds) -> Tensor:
        """Sounds (n, S), int16 or float in [-1, 1] -> (n, D)."""
        rows = []
        for part in parts(samples):
            read = self.extractor(self._heard(part), sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
            # The extractor calls one sound of a batch, drawn at random, too long; none is.
            if "is_longer" in read:
                read["is_longer"] = torch.zeros_like(read["is_longer"])
            found = self.network.get_audio_features(**{key: x.to(self.network.device) for key, x in read.items()})
            # An output object in later versions of the library, its tensor in earlier ones.
            vectors = getattr(found, "pooler_output", found)
            rows.append(F.normalize(vectors.float(), dim=-1).cpu())
        return torch.cat(rows)

    def _heard(self, waveforms: Tensor) -> list[np.ndarray[Any, Any]]:
        rate, most = self.extractor.sampling_rate, self.extractor.nb_max_samples
        resampled = (soxr.resample(one, self.sample_rate, rate) for one in waveforms.numpy())
        return [np.ascontiguousarray(one[:most]) for one in resampled]
