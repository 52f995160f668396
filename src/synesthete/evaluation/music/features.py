"""What sounds are compared by: a row of numbers each, from a judge trained here, their spectra, or CLAP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import soxr
import torch

from synesthete import hub
from synesthete.conditioning.frozen_encoder import one_line
from synesthete.evaluation.audio_features.spectra import band_statistics, log_mel, parts
from synesthete.evaluation.metrics.distribution import frechet
from synesthete.nn.device import find_device
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.evaluation.classifiers.sound import SoundClassifier

CLAP = "laion/larger_clap_music_and_speech"
CHOICES = ("auto", "judge", "spectrum", "clap")


class SoundFeatures(Protocol):
    """Sounds (n, S), int16 or float in [-1, 1] -> (n, D) float32 on the CPU; a sound has the same row in any company.

    name: for reports, part of the name of every figure that is computed on them.
    """

    name: str

    def __call__(self, waveforms: Sounds) -> Tensor:
        """(n, S) -> (n, D)."""
        ...


class JudgeFeatures:
    """What a judge's last layer reads, standardised over the real pieces that it learned from.

    Figures on them compare models of one data set only: another data set has another judge.
    """

    def __init__(self, judge: SoundClassifier) -> None:
        self.judge = judge
        self.name = f"judge of {len(judge.config.class_names)} {judge.config.targets}"

    def __call__(self, waveforms: Sounds) -> Tensor:
        """(n, S) -> (n, D)."""
        return self.judge.features(waveforms)


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

    def __call__(self, waveforms: Sounds) -> Tensor:
        """(n, S) -> (n, 128)."""
        return (self._measured(waveforms) - self.mean) / self.scale

    def _measured(self, waveforms: Sounds) -> Tensor:
        return torch.cat([band_statistics(log_mel(part, self.sample_rate)) for part in parts(waveforms)])


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

        self.sample_rate, self.name = sample_rate, Path(model).name
        folder = hub.find_weights(str(model), hub.PICKLED)
        try:
            with one_line(str(model), "a CLAP"):
                self.extractor: Any = ClapFeatureExtractor.from_pretrained(folder)
                network, loading = ClapModel.from_pretrained(
                    folder, dtype=torch.float32, weights_only=True, output_loading_info=True
                )
        except InputError as error:
            reason = str(error).partition("; give another")[0]
            raise InputError(f"{reason}; --features takes {', '.join(CHOICES)} or a folder") from None
        if loading["missing_keys"]:
            raise InputError(f"{folder}: lacks {min(loading['missing_keys'])}; download the model again")
        self.network: Any = network.eval().requires_grad_(False).to(find_device(device))

    @torch.no_grad()
    def __call__(self, waveforms: Sounds) -> Tensor:
        """(n, S) -> (n, D)."""
        rows = []
        for part in parts(waveforms):
            read = self.extractor(
                self._resampled(part), sampling_rate=self.extractor.sampling_rate, return_tensors="pt"
            )
            # The extractor calls one sound of a batch, drawn at random, too long; none is.
            if "is_longer" in read:
                read["is_longer"] = torch.zeros_like(read["is_longer"])
            found = self.network.get_audio_features(**{key: x.to(self.network.device) for key, x in read.items()})
            # An output object in later versions of the library, its tensor in earlier ones.
            vectors = getattr(found, "pooler_output", found)
            rows.append(torch.nn.functional.normalize(vectors.float(), dim=-1).cpu())
        return torch.cat(rows)

    def _resampled(self, waveforms: Tensor) -> list[np.ndarray[Any, Any]]:
        rate = self.extractor.sampling_rate
        most = self.extractor.nb_max_samples
        return [
            np.ascontiguousarray(soxr.resample(one, self.sample_rate, rate)[:most]) for one in waveforms.float().numpy()
        ]


def find_features(choice: str, judge: SoundClassifier | None, sample_rate: int, real: Sounds) -> SoundFeatures:
    """The features called `choice`: one of CHOICES, or the folder or Hub id of a CLAP.

    "auto" is the judge where there is one, else log-mel statistics: nothing is downloaded for it. real: pieces (n, S)
    that those are standardised over.

    Raises:
        InputError: an unknown choice, weights that are neither here nor to be had, or the judge where there is none.
    """
    if choice == "auto":
        choice = "spectrum" if judge is None else "judge"
    if choice == "judge":
        if judge is None:
            raise InputError("no judge to describe sounds by; give --features spectrum, or more recordings")
        return JudgeFeatures(judge)
    if choice == "spectrum":
        return SpectrumFeatures(sample_rate, real)
    if choice == "clap":
        return ClapFeatures(sample_rate)
    if Path(choice).expanduser().is_dir() or hub.is_hub_id(choice):
        return ClapFeatures(sample_rate, choice)
    raise InputError(f"no features {choice!r}; give {', '.join(CHOICES)}, or a folder of weights")


def frechet_of(real: Sounds, made: Sounds, judge: SoundClassifier) -> float:
    """Fréchet distance of sounds (n, S) from real ones (m, S), int16 or float in [-1, 1], in a judge's features.

    It is biased upwards, the more the fewer sounds there are: compare figures of equal n and m only.

    Raises:
        InputError: fewer than two sounds in a set.
    """
    return frechet(judge.features(real), judge.features(made))
