"""How good speech sounds, as listeners would rate it from 1 to 5: DNSMOS P.835 and P.808 (Reddy et al. 2021, 2022)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

from synesthete import hub
from synesthete.types import InputError, counted

SAMPLE_RATE = 16_000
NUM_SAMPLES = 144_160  # 9.01 s; of a longer sound windows a second apart are rated, a shorter one is said over and over
P835, P808 = "sig_bak_ovr.onnx", "model_v8.onnx"
FOLDER = "dnsmos"  # below SYNESTHETE_WEIGHTS
# From what the network says to the scale of listeners; microsoft/DNS-Challenge, DNSMOS/dnsmos_local.py.
_TO_RATING = {
    "signal": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}


def find_dnsmos() -> Path | None:
    """The folder of both networks: SYNESTHETE_WEIGHTS/dnsmos, or that of the `speechmos` package; None: neither."""
    folders = [hub.weights_folder() / FOLDER]
    if (package := importlib.util.find_spec("speechmos")) and package.submodule_search_locations:
        folders.append(Path(package.submodule_search_locations[0]) / "dnsmos_models")
    return next((folder for folder in folders if all((folder / name).is_file() for name in (P835, P808))), None)


class Dnsmos:
    """Both networks, on one thread. folder: of their ONNX files; None finds it.

    Raises:
        InputError: they are not there, are damaged, or onnxruntime is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if (found := folder or find_dnsmos()) is None:
            place = hub.weights_folder() / FOLDER
            raise InputError(f"no DNSMOS: pip install 'synesthete[quality]', or put {P835} and {P808} into {place}")
        self.folder = found

    @torch.no_grad()
    def rate(
        self, waveforms: Tensor, sample_rate: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Tensor]:
        """Ratings (n,) of sounds (n, S) in [-1, 1], 1 to 5: `overall`, `signal`, `background` (P.835) and `p808`."""
        sounds = (waveform.float().cpu().numpy() for waveform in counted(waveforms, progress))
        rows = [self._rate_one(soxr.resample(sound, sample_rate, SAMPLE_RATE)) for sound in sounds]
        ratings = torch.tensor(rows).reshape(-1, 4)
        return dict(zip((*_TO_RATING, "p808"), ratings.unbind(dim=1), strict=True))

    def _rate_one(self, sound: np.ndarray) -> list[float]:
        import librosa  # slow to import, and only listeners need it

        sound = np.clip(sound, -1, 1).astype(np.float32)
        while 0 < len(sound) < NUM_SAMPLES:
            sound = np.concatenate([sound, sound])
        if not len(sound):
            return [1.0] * 4
        found = []
        for second in range(int(len(sound) // SAMPLE_RATE - NUM_SAMPLES / SAMPLE_RATE) + 1):
            window = sound[second * SAMPLE_RATE :][:NUM_SAMPLES]
            p835, p808 = self._networks
            said = p835.run(None, {p835.get_inputs()[0].name: window[None]})[0][0]
            rated = [float(np.polyval(curve, x)) for curve, x in zip(_TO_RATING.values(), said, strict=True)]
            frames = {"sr": SAMPLE_RATE, "n_fft": 321, "hop_length": 160, "n_mels": 120}
            power = librosa.feature.melspectrogram(y=window[:-160], **frames)
            mel = (librosa.power_to_db(power, ref=np.max) + 40) / 40
            heard = p808.run(None, {p808.get_inputs()[0].name: mel.T[None].astype(np.float32)})[0]
            found.append([*rated, float(np.ravel(heard)[0])])
        return list(np.mean(found, axis=0))

    @cached_property
    def _networks(self) -> list[Any]:
        try:
            return [hub.open_network(self.folder / name) for name in (P835, P808)]
        except ImportError:
            raise InputError("onnxruntime is not installed; pip install 'synesthete[quality]'") from None
