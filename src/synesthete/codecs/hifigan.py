"""HiFi-GAN: sound from a log-mel by transposed convolutions, sample for sample, with published weights."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.hub import find_weights, local_weights
from synesthete.io import read_json
from synesthete.nn.layers import load_weights
from synesthete.nn.spectrum import mel_edges
from synesthete.types import AudioSpec, InputError

FIELD = "codec.hifigan"
FILES = ("g_[0-9]*", "*.pth.tar", "*.pth", "*.bin", "*.safetensors")
PATTERNS = (*FILES, "config.json")
FLOOR = 1e-5  # of the magnitudes in its bands, whose area is one
SETTINGS = (
    *("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel"),
    *("resblock_kernel_sizes", "resblock_dilation_sizes"),
)
FRAMES = ("num_mels", "n_fft", "hop_size", "win_size", "sampling_rate", "fmin", "fmax")


class HifiGan(nn.Module):
    """Log-mel (B, n_mels, T) as `MelCodec.log_mel` on Slaney's scale -> waveform (B, S): 13.9M parameters of V1.

    Source: HiFi-GAN, Kong et al. 2020 (section 2.2). The generator is transformers' `SpeechT5HifiGan`, the same
    network under other names. Its own log-mel has bands of area 1, clipped at 1e-5, and frames half a hop later.
    """

    log_area: Tensor

    def __init__(self, network: nn.Module, spec: AudioSpec) -> None:
        super().__init__()
        self.network, self.hop_length = network, spec.hop_length
        self.register_buffer("log_area", log_areas(spec)[:, None])

    def forward(self, log_mel: Tensor, num_samples: int | None = None) -> Tensor:
        """(B, n_mels, T) -> (B, num_samples); None: the T - 1 hops between the centres of the frames."""
        hop_length, num_frames = self.hop_length, log_mel.shape[-1]
        num_samples = (num_frames - 1) * hop_length if num_samples is None else num_samples
        own = (log_mel + self.log_area).clamp(min=math.log(FLOOR))
        # What it makes of a frame lies half a hop to both sides of the frame's centre.
        start = hop_length // 2
        missing = max(0, -(-(start + num_samples) // hop_length) - num_frames)
        own = F.pad(own, (0, missing), value=math.log(FLOOR))
        return self.network(own.mT)[:, start : start + num_samples]  # (B, S)

    @classmethod
    def load(cls, name: str | None, spec: AudioSpec, floor: float) -> HifiGan:
        """From a folder or Hub id as published: config.json, and `g_02500000`, `generator.pth.tar` or safetensors.

        name: a folder with one file of weights, such a file, or a Hub id. spec, floor: of the codec's log-mel.
        In float32 and evaluation mode, its weight norm multiplied out.
        """
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig  # takes seconds, and few decode with it

        if not name:
            raise InputError(f"codec.vocoder hifigan: which one? give the folder of its weights by --set {FIELD}=PATH")
        path = Path(name).expanduser()
        file = path if path.is_file() else _only_weights(find_weights(name, PATTERNS, field=FIELD))
        settings = read_hifigan_settings(file.parent)
        check_frames(file.parent, settings, spec, floor)
        sizes = {key: settings[key] for key in SETTINGS}
        try:
            config = SpeechT5HifiGanConfig(model_in_dim=spec.n_mels, normalize_before=False, **sizes)
            network = SpeechT5HifiGan(config)
        except Exception as error:  # whatever torch and transformers make of such sizes
            reason = str(error).strip().splitlines()[0][:120]
            raise InputError(
                f"{file.parent}: its settings make no HiFi-GAN ({reason}); get config.json again"
            ) from None
        tensors = {key: network.state_dict()[key] for key in ("mean", "scale")} | read_generator(file)
        load_weights(network, tensors, f"{file}: its weights are not this HiFi-GAN's ({{}}); give another {FIELD}")
        return cls(network, spec).eval().requires_grad_(False)


def log_areas(spec: AudioSpec) -> Tensor:
    """The logarithm of what makes the area of each band of height 1 one, (n_mels,), as librosa norms them."""
    edges = mel_edges(spec.sample_rate, spec.n_mels, spec.mel_scale == "htk", spec.fmax)
    return torch.from_numpy(2 / (edges[2:] - edges[:-2])).log().float()


def without_hifigan(name: str | None, spec: AudioSpec, floor: float) -> str:
    """Why it cannot decode such a log-mel with what is on this machine; empty where it can. Nothing is loaded."""
    path = Path(name or "").expanduser()
    folder = path.parent if name and path.is_file() else local_weights(name, PATTERNS) if name else None
    if folder is None:
        return f"{name or FIELD} is not on this machine"
    try:
        check_frames(folder, read_hifigan_settings(folder), spec, floor)
    except InputError as error:
        return str(error)
    return ""


def read_hifigan_settings(folder: Path) -> dict[str, Any]:
    """The published config.json of a folder."""
    try:
        settings = read_json(folder / "config.json")
        kind, frames = str(settings.get("resblock", "1")), {key: settings[key] for key in FRAMES}
        numbers = [value for key, value in frames.items() if not (key == "fmax" and value is None)]
        if not all(isinstance(value, int | float) for value in numbers):
            raise TypeError
        samples = math.prod(settings["upsample_rates"])
        sizes = {key: settings[key] for key in SETTINGS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder}/config.json: not there, or not as HiFi-GAN publishes it; get it again") from None
    if kind != "1":
        raise InputError(f"{folder}: a HiFi-GAN of resblock {kind}; only resblock 1 (V1, V2) is read: give another")
    if samples != frames["hop_size"]:
        raise InputError(
            f"{folder}/config.json: makes {samples} samples of a frame, and its hop_size is {frames['hop_size']}; "
            "get it again"
        )
    return sizes | frames


def check_frames(folder: Path, settings: dict[str, Any], spec: AudioSpec, floor: float) -> None:
    """Whether a HiFi-GAN was trained on the log-mel of that spec."""
    nyquist = settings["sampling_rate"] / 2
    pairs = {
        "sample_rate": (spec.sample_rate, settings["sampling_rate"]),
        "n_fft": (spec.n_fft, settings["n_fft"]),
        "window": (spec.n_fft, settings["win_size"]),
        "hop_length": (spec.hop_length, settings["hop_size"]),
        "n_mels": (spec.n_mels, settings["num_mels"]),
        "mel_scale": (spec.mel_scale, "slaney"),
        "fmin": (0, settings["fmin"]),
        "fmax": (spec.fmax or spec.sample_rate / 2, settings["fmax"] or nyquist),
    }
    wrong = [f"{name} {own} (its is {value})" for name, (own, value) in pairs.items() if own != value]
    if not wrong and floor > (highest := FLOOR / log_areas(spec).max().exp().item()):
        wrong = [f"floor {floor:g} (at most {highest:.1g})"]
    if wrong:
        raise InputError(
            f"{folder}: trained on another log-mel than the codec's {', '.join(wrong)}; set these fields of the codec, "
            f"give another {FIELD}, or --set codec.vocoder=griffin-lim"
        )


def read_generator(file: Path) -> dict[str, Tensor]:
    """The generator's weights as transformers names them, weight norm multiplied out."""
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            found = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
            found = found.get("generator", found)
        tensors = {re.sub(r"^ups\.", "upsampler.", key): value.float() for key, value in found.items()}
        for key in [key for key in tensors if key.endswith(".weight_v")]:
            size, direction = tensors.pop(key.removesuffix("v") + "g"), tensors.pop(key)
            tensors[key.removesuffix("_v")] = torch._weight_norm(direction, size, 0)
    except Exception:  # pickle, zip and safetensors each have their own
        raise InputError(f"{file}: damaged, or more than tensors in it; get the file again") from None
    return tensors


def _only_weights(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in FILES))
    if len(found) != 1:
        named = ", ".join(path.name for path in found[:4]) or "none"
        raise InputError(f"{folder}: {len(found)} files of weights ({named}); name the one by --set {FIELD}=FILE")
    return found[0]
