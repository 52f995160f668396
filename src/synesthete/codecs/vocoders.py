"""Networks that make sound of a log-mel: Vocos by the short-time Fourier transform, HiFi-GAN sample for sample."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatch
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.config.document import read_yaml_file
from synesthete.hub import find_weights, local_weights, read_weights
from synesthete.io import read_json
from synesthete.nn.layers import load_weights
from synesthete.nn.part import Part
from synesthete.nn.spectrum import mel_edges
from synesthete.types import AudioSpec, InputError

LOUDEST = 1e2  # of a predicted magnitude, as published
PUBLISHED_PARTS = {"feature_extractor": "MelSpectrogramFeatures", "backbone": "VocosBackbone", "head": "ISTFTHead"}
FEATURES = "feature_extractor."  # the published weights hold the window and filterbank of their log-mel as well


class Vocos(Part):
    """Log-mel (B, n_mels, T) -> waveform (B, S) in one forward pass: 13.5M parameters at the published size.

    Source: Vocos, Siuzdak 2023 (section 3). Parameters are named and shaped as in the published
    `charactr/vocos-mel-24khz`, which `Vocos.load` reads. The log-mel is `MelCodec.log_mel`.

    Args:
        dim, intermediate_dim: width of the backbone, and inside its blocks.
        padding: of the frames: "center" (T frames are (T - 1) hops of sound) or "same" (T hops).
    """

    def __init__(
        self,
        sample_rate: int = 24_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        dim: int = 512,
        intermediate_dim: int = 1536,
        num_layers: int = 8,
        padding: Literal["center", "same"] = "center",
    ) -> None:
        super().__init__()
        if padding not in ("center", "same"):
            raise InputError(f"vocos padding {padding!r}: it is 'center' or 'same'")
        if n_fft % 2 or hop_length % 2 or not 0 < hop_length <= n_fft // 2:
            raise InputError(f"vocos n_fft {n_fft}, hop_length {hop_length}: give even ones, hop at most half a frame")
        self.spec = AudioSpec(sample_rate, n_fft, hop_length, n_mels)
        self.backbone = Backbone(n_mels, dim, intermediate_dim, num_layers)
        self.head = ISTFTHead(dim, n_fft, hop_length, padding)

    def forward(self, log_mel: Tensor, num_samples: int | None = None) -> Tensor:
        """log_mel (B, n_mels, T) -> (B, num_samples), as `InverseSTFT`."""
        return self.head(self.backbone(log_mel), num_samples)  # (B, S)

    @classmethod
    def load(cls, folder: Path) -> Vocos:
        """From a folder as published (config.yaml, pytorch_model.bin or safetensors) or as `save_pretrained` wrote it.

        In float32 and evaluation mode. What the published weights hold for their own log-mel is left out.
        """
        settings = read_settings(folder)
        weights = {k: v.float() for k, v in read_weights(folder).items() if not k.startswith(FEATURES)}
        try:
            with torch.device("meta"):
                vocos = cls(**settings)
        except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{folder}: its settings make no Vocos ({reason}); download them again") from None
        vocos.to_empty(device="cpu")
        load_weights(vocos, weights, f"{folder}: its weights do not fit its settings ({{}}); give another folder")
        return vocos.eval().requires_grad_(False)


class Backbone(nn.Module):
    """Features (B, C, T) -> (B, T, D) through ConvNeXt blocks at one temporal resolution."""

    def __init__(self, in_channels: int, dim: int, intermediate_dim: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_channels, dim, kernel_size=7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(
            ConvNeXtBlock(dim, intermediate_dim, layer_scale=1 / num_layers) for _ in range(num_layers)
        )
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) -> (B, T, D)."""
        x = self.embed(features).mT  # (B, T, D)
        x = self.norm(x)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x)


class ConvNeXtBlock(nn.Module):
    """ConvNeXt (Liu et al. 2022) over time: seven frames of each channel, a perceptron on each frame, layer scale."""

    def __init__(self, dim: int, intermediate_dim: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, intermediate_dim)
        self.pwconv2 = nn.Linear(intermediate_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.pwconv2(F.gelu(self.pwconv1(self.norm(self._mix_frames(x)))))
        return x + self.gamma * hidden

    def _mix_frames(self, x: Tensor) -> Tensor:
        # dwconv as a picture one row high, whose channels lie last in memory as they do in x: the same values, which on
        # a CPU take half as long or less. Of a whole network's forward and backward that is 5 to 10%.
        weight, bias = self.dwconv.weight.unsqueeze(2), self.dwconv.bias  # (D, 1, 1, 7)
        return F.conv2d(x.mT.unsqueeze(2), weight, bias, padding=(0, 3), groups=len(weight)).squeeze(2).mT


class ISTFTHead(nn.Module):
    """(B, T, D) -> waveform: a log-magnitude and a phase for every bin of every frame, and the inverse STFT."""

    def __init__(self, dim: int, n_fft: int, hop_length: int, padding: str) -> None:
        super().__init__()
        self.out = nn.Linear(dim, n_fft + 2)
        self.istft = InverseSTFT(n_fft, hop_length, padding)

    def forward(self, x: Tensor, num_samples: int | None = None) -> Tensor:
        """(B, T, D) -> (B, S)."""
        log_magnitude, phase = self.out(x).float().chunk(2, dim=-1)  # (B, T, F) each; no FFT is in half precision
        # Limited before exp, not after: the same values, and no infinity for the gradient to meet.
        magnitude = log_magnitude.clamp(max=math.log(LOUDEST)).exp()
        return self.istft(torch.polar(magnitude, phase), num_samples)


class InverseSTFT(nn.Module):
    """Complex frames (B, T, n_fft / 2 + 1) -> waveform by windowed overlap-add (periodic Hann).

    `torch.istft` has no "same" padding: half a frame less half a hop is cut at each end, so that T frames are T hops,
    as for a convolution. "center" equals `torch.istft`.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, padding: str) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.padding = n_fft, hop_length, padding
        self.register_buffer("window", torch.hann_window(n_fft))

    def forward(self, frames: Tensor, num_samples: int | None = None) -> Tensor:
        """(B, T, F) -> (B, num_samples); None: what the frames stand for. At most a hop more."""
        num_frames = frames.shape[1]
        if self.padding == "center":
            start, usual = self.n_fft // 2, (num_frames - 1) * self.hop_length
        else:
            start, usual = (self.n_fft - self.hop_length) // 2, num_frames * self.hop_length
        num_samples = usual if num_samples is None else num_samples
        if num_samples > usual + self.hop_length:
            raise ValueError(f"{num_frames} frames are {usual} samples, not {num_samples}")
        kept = slice(start, start + num_samples)
        segments = torch.fft.irfft(frames, self.n_fft) * self.window  # (B, T, n_fft)
        weights = self.window.square().expand(1, num_frames, -1)
        return self._overlap_add(segments)[:, kept] / self._overlap_add(weights)[:, kept]

    def _overlap_add(self, segments: Tensor) -> Tensor:
        total = (segments.shape[1] - 1) * self.hop_length + self.n_fft
        sizes = {"output_size": (1, total), "kernel_size": (1, self.n_fft), "stride": (1, self.hop_length)}
        return F.fold(segments.mT, **sizes)[:, 0, 0]  # (B, total)


def check_vocos(folder: Path, spec: AudioSpec) -> None:
    """Whether the Vocos of a folder was trained on the log-mel of that spec."""
    settings = {"padding": "center", **vars(AudioSpec()), **read_settings(folder)}
    for name, value in {"padding": "center", **vars(spec)}.items():
        if settings[name] != value:
            raise InputError(
                f"{folder}: trained on log-mels of {name} {settings[name]}, the codec's is {value}; "
                "give other weights (codec.vocos) or --set codec.vocoder=griffin-lim"
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """The arguments of `Vocos` from the published config.yaml of a folder, or from our own config.json."""
    ours = folder / "config.json"
    try:
        if ours.is_file():
            settings = read_json(ours)
            if settings.get("_class_name") == Vocos.__name__:
                return {name: settings[name] for name in signature(Vocos.__init__).parameters if name in settings}
        parts = read_yaml_file(folder / "config.yaml", "give the folder of a published Vocos")
        kinds = {part: parts[part]["class_path"].rpartition(".")[2] for part in PUBLISHED_PARTS}
        features, backbone, head = (dict(parts[part].get("init_args") or {}) for part in PUBLISHED_PARTS)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder}: its settings are damaged; download config.yaml again") from None
    if kinds != PUBLISHED_PARTS or backbone.get("adanorm_num_embeddings") is not None:
        raise InputError(f"{folder}: not a Vocos of log-mels but {', '.join(kinds.values())}; give another folder")
    frames = {"n_fft": 1024, "hop_length": 256, "padding": "center"} | features
    frames = {name: frames[name] for name in ("n_fft", "hop_length", "padding")}
    if frames | {"padding": "same"} | {name: head[name] for name in frames.keys() & head.keys()} != frames:
        raise InputError(f"{folder}: its head and its log-mel cut frames in two ways; give another folder")
    sizes = {name: backbone[name] for name in ("dim", "intermediate_dim", "num_layers") if name in backbone}
    return {name: features[name] for name in ("sample_rate", "n_mels") if name in features} | frames | sizes


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
