"""Vocos: sound from a log-mel by a network that predicts the short-time Fourier transform, frame for frame."""

from __future__ import annotations

import math
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.config.document import read_yaml_file
from synesthete.hub import read_weights
from synesthete.io import read_json
from synesthete.nn.layers import load_weights
from synesthete.nn.part import Part
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
