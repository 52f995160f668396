"""What goes into one ONNX file: a network of plain tensors with named inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten_with_path

from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import LogMelCodec
from synesthete.codecs.pixels import LEVEL, PixelCodec
from synesthete.codecs.stft import LOUDEST_DB, StftCodec
from synesthete.codecs.vocoders import LOUDEST, Vocos
from synesthete.conditioning.labels import Labels
from synesthete.denoisers.denoiser import READ_BY
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process
    from synesthete.pipeline import Pipeline

BATCH = 2  # of examples: torch takes sizes of 0 and 1 for constants
TOLERANCE = 1e-3  # of float32 sums in another order, through all layers


@dataclass(frozen=True)
class Graph:
    """A network and how to call it.

    inputs: an example of each, by the name of `module.forward`'s argument, batch first; a tuple of tensors is as many
    inputs, as `flattened` names them. outputs: their names.
    oracle: what the pipeline itself calls, by which the file is evaluated. tolerance: how far it may be from that, as a
    share of the largest value (of uint8: in levels). facts: what else the file says of itself.
    """

    module: nn.Module
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    tolerance: float
    oracle: Callable[..., Any]
    facts: dict[str, Any] = field(default_factory=dict)


def flattened(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor among a graph's inputs: those of a tuple called `keys_values.0.1` by their places."""
    found: Any = tree_flatten_with_path(dict(inputs))[0]
    return {".".join([path[0].key, *(str(step.idx) for step in path[1:])]): value for path, value in found}


class Predict(nn.Module):
    """A denoiser of plain tensors: the parts of the condition are arguments of their own.

    process: None gives what the network itself outputs, which is the prediction unless that is preconditioned.
    """

    def __init__(self, denoiser: nn.Module, process: Process | None = None) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, process

    def forward(
        self,
        x_t: Tensor,
        timestep: Tensor,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        pooled: Tensor | None = None,
        spatial: Tensor | None = None,
        keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None,
    ) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) float. The rest as in `Condition`. Returns the prediction, as x_t."""
        condition = Condition(tokens, mask, pooled, spatial, keys_values)
        if self.process is None:
            return self.denoiser(x_t, timestep, condition)
        return self.process.predict(self.denoiser, x_t, timestep, condition)


class LookUp(nn.Module):
    """Class numbers as what the denoiser reads."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """label: (B,) int64, the number of classes for the null. Returns tokens (B, L, D) and pooled (B, D)."""
        told = self.labels._look_up(label)
        assert told.tokens is not None and told.pooled is not None
        return told.tokens, told.pooled


def denoiser_graph(pipeline: Pipeline) -> Graph:
    """x_t, timestep and those parts of the condition that the model reads -> prediction, of the process' own type."""
    denoiser = pipeline.denoiser
    null = pipeline.conditioner.null(BATCH)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "x_t": torch.randn(BATCH, *pipeline.codec.shape, generator=generator),
        "timestep": torch.linspace(0.2, 0.9, BATCH) * pipeline.process.num_train_timesteps,
    }
    for part in ("tokens", "mask", "pooled", "spatial"):
        told = getattr(null, part)
        if told is not None and denoiser.config.get(READ_BY["tokens" if part == "mask" else part]) is not None:
            # A row of keys that are all masked has no softmax.
            inputs[part] = torch.ones_like(told) if part == "mask" else torch.randn(told.shape, generator=generator)
    module = Predict(denoiser, pipeline.process)
    return Graph(module, inputs, ("prediction",), TOLERANCE, oracle=module)


def conditioner_graph(pipeline: Pipeline) -> Graph | None:
    """Class numbers -> tokens and pooled; None for a model that is told nothing, or told by another network."""
    labels = pipeline.conditioner
    if not isinstance(labels, Labels):
        return None
    null = labels.config.num_classes
    inputs = {"label": torch.arange(BATCH) % (null + 1)}
    module = LookUp(labels)
    return Graph(module, inputs, ("tokens", "pooled"), TOLERANCE, oracle=module, facts={"null_label": null})


class Decode(nn.Module):
    """x_0 -> what a function of the codec makes of it, and another network of that, where there is one."""

    def __init__(self, codec: Any, function: Callable[[Any, Tensor], Tensor], after: nn.Module | None = None) -> None:
        super().__init__()
        self.codec, self.function, self.after = codec, function, after

    def forward(self, x_0: Tensor) -> Tensor:
        """(B, C, H, W) -> as the function, or the network behind it, says."""
        made = self.function(self.codec, x_0)
        return made if self.after is None else self.after(made)


class Vocode(nn.Module):
    """x_0 of a log-mel -> waveform by the network that decodes it."""

    def __init__(self, codec: LogMelCodec, vocos: Vocos) -> None:
        super().__init__()
        self.codec, self.vocos = codec, vocos
        spec, num_samples = codec.spec, codec.config.num_samples
        self.inverse = ConvISTFT(vocos.head.istft.window, spec.hop_length, spec.num_frames(num_samples), num_samples)

    def forward(self, x_0: Tensor) -> Tensor:
        """(B, 1, n_mels, T) -> (B, num_samples)."""
        log_mel = self.codec.denormalise(x_0).clamp(math.log(self.codec.config.floor), 8.0)
        found = self.vocos.head.out(self.vocos.backbone(log_mel)).mT  # (B, n_fft + 2, T)
        log_magnitude, phase = found.chunk(2, dim=1)
        magnitude = log_magnitude.clamp(max=math.log(LOUDEST)).exp()
        return self.inverse(magnitude * phase.cos(), magnitude * phase.sin())


class Play(nn.Module):
    """x_0 of a complex spectrogram -> waveform, without complex numbers: few runtimes have them."""

    def __init__(self, codec: StftCodec) -> None:
        super().__init__()
        self.codec, self.num_samples = codec, codec.config.num_samples
        self.length = codec.num_covered(self.num_samples)
        self.num_frames = codec.spec.num_frames(self.num_samples)
        self.inverse = ConvISTFT(codec.window, codec.spec.hop_length, self.num_frames, self.length)

    def forward(self, x_0: Tensor) -> Tensor:
        """(B, 2, num_bins, T) -> (B, num_samples)."""
        power = self.codec.config.power
        cells = self.codec.denormalise(x_0)
        limit = 10 ** (LOUDEST_DB / 20 * power)
        cells = cells * (limit / modulus(cells).clamp(min=limit))
        parts = cells * modulus(cells).clamp(min=1e-12) ** (1 / power - 1)
        waveform = self.inverse(*(self.codec.whole(parts[:, i], self.num_frames) for i in (0, 1)))
        return F.pad(waveform, (0, self.num_samples - self.length))


def modulus(cells: Tensor) -> Tensor:
    """Real and imaginary parts (B, 2, F, T) -> (B, 1, F, T)."""
    return cells.square().sum(dim=1, keepdim=True).sqrt()


class ConvISTFT(nn.Module):
    """`torch.istft` as one transposed convolution: every bin of a frame adds its windowed wave.

    Args:
        window: (n_fft,). num_frames, num_samples: of every call; the last samples lie under the last window.
    """

    waves: Tensor
    shares: Tensor

    def __init__(self, window: Tensor, hop_length: int, num_frames: int, num_samples: int) -> None:
        super().__init__()
        n_fft = window.numel()
        bins = torch.arange(n_fft // 2 + 1)
        turns = (bins[:, None] * torch.arange(n_fft) % n_fft).double() * (2 * torch.pi / n_fft)
        weight = torch.full((len(bins), 1), 2.0 / n_fft).double()
        weight[0] = weight[-1] = 1.0 / n_fft  # all other bins stand for their mirror images, too
        waves = torch.cat([weight * turns.cos(), -weight * turns.sin()]) * window.double()  # (2 F, n_fft)
        shares = F.conv_transpose1d(
            torch.ones(1, 1, num_frames).double(), window.double().square()[None, None], stride=hop_length
        )
        self.kept = slice(n_fft // 2, n_fft // 2 + num_samples)
        self.hop_length = hop_length
        self.register_buffer("waves", waves.float().unsqueeze(1))  # (2 F, 1, n_fft)
        self.register_buffer("shares", shares[0, 0, self.kept].float())

    def forward(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Two (B, n_fft / 2 + 1, num_frames) -> (B, num_samples)."""
        added = F.conv_transpose1d(torch.cat([real, imaginary], dim=1), self.waves, stride=self.hop_length)
        return added[:, 0, self.kept] / self.shares


def decoder_graph(codec: Any) -> Graph:
    """x_0 -> "pictures", "waveform", or what a phase is still to be guessed for: "magnitude" or "log_mel"."""
    output, module = network_of(codec)
    x_0 = torch.randn(BATCH, *codec.shape, generator=torch.Generator().manual_seed(0))
    return Graph(
        module,
        inputs={"x_0": x_0},
        outputs=(output,),
        tolerance=1.0 if output == "pictures" else TOLERANCE,
        oracle=codec.decode if output in ("pictures", "waveform") else module,
    )


def network_of(codec: Any) -> tuple[str, nn.Module]:
    """The name of a decoder's output, and the network."""
    if isinstance(codec, LatentCodec):
        output, base = network_of(codec.base)
        return output, Decode(codec, lambda own, x_0: own.restore(x_0 * own.scale + own.mean, own.base.shape[2]), base)
    if isinstance(codec, LogMelCodec):
        vocos = codec._find_vocoder()
        if not isinstance(vocos, Vocos):  # Griffin-Lim, or a HiFi-GAN, which has no graph yet
            return "log_mel", Decode(codec, LogMelCodec.denormalise)
        return "waveform", Vocode(codec, vocos.to("cpu"))
    if isinstance(codec, StftCodec):
        if codec.config.kind == "complex":
            return "waveform", Play(codec)
        num_frames = codec.spec.num_frames(codec.config.num_samples)
        return "magnitude", Decode(codec, lambda own, x_0: own.whole(own.magnitude(x_0), num_frames))
    if isinstance(codec, PixelCodec):
        return "pictures", Decode(codec, lambda own, x_0: as_bytes(own.denormalise(x_0) / LEVEL))
    if isinstance(codec, AutoencoderCodec):
        return "pictures", Decode(codec, lambda own, x_0: as_bytes(own._decode(x_0 * own.scale + own.mean) * 255))
    raise InputError(f"{type(codec).__name__} has no ONNX decoder yet; export the other parts with --part denoiser")


def as_bytes(levels: Tensor) -> Tensor:
    """Levels of 0 to 255 as uint8."""
    return levels.round().clamp(0, 255).to(torch.uint8)
