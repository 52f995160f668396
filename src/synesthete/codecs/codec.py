"""What every codec is, what can be asked of one, and how one measures a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from synesthete.nn.part import Part
from synesthete.types import InputError

__all__ = ["Codec"]


class Codec(Part):
    """Base of all codecs: signal <-> x_0. It owns range and normalisation, and what silence is.

    Each has `shape` (C, H, W) of one x_0, encode(signal) -> x_0 (B, C, H, W), decode(x_0, generators) -> signal, one
    generator a sample for what is drawn, fit(signals), which measures a corpus, and pictures(x_0), to be looked at; one
    of pictures has preprocess(pictures) -> (B, C, H, W) uint8 as well.

    Raises:
        InputError: (its methods) a signal or an x_0 of another shape or type, too long, or with values that are not
            finite, or of pictures not in [0, 1]; nothing to measure.

    Attributes:
        spec: of a codec of sound the `AudioSpec` by which it is sampled and cut into frames; None of one of pictures.
        makes_pictures: whether the signal is pictures (B, C, H, W) uint8; of what is neither sound nor that, both are
            unset.
        is_learned: whether a stage trains what it makes of a signal, so that no x_0 is kept from before.
        caches_latents: whether x_0 is worth keeping, since a network has to be asked for it.
        has_vocoder: whether it has `vocode(log_mel)`, with gradients, by a network of its own.
        downsampling: cells of a side of the grid below that one of x_0 stands for.
    """

    spec: Any = None
    makes_pictures: bool = False
    is_learned: bool = False
    caches_latents: bool = False
    has_vocoder: bool = False
    downsampling: int = 1

    mean: Tensor
    scale: Tensor

    def check(self, x_0: Tensor, any_number_of: str | None = None) -> None:
        """Refuse an x_0 of another shape, or with values that are not finite. any_number_of: what its columns are."""
        expected = (*self.shape[:2], any_number_of) if any_number_of else self.shape
        num = len(expected) - bool(any_number_of)
        if x_0.ndim != 4 or x_0.shape[1 : 1 + num] != expected[:num]:
            raise InputError(f"x_0 of shape {tuple(x_0.shape)}: this codec needs (B, {', '.join(map(str, expected))})")
        if not torch.isfinite(x_0).all():
            raise InputError("x_0 with NaN or infinite values; its sampler or its network has diverged")

    def measure(self, batches: Iterable[Tensor], least: float) -> Self:
        """Set each channel's `mean` and `scale` by batches (B, C, H, W), as `measure_channels`."""
        mean, deviation = measure_channels(batches, least)
        self.mean.copy_(mean)
        self.scale.copy_(deviation)
        return self

    def normalise(self, values: Tensor) -> Tensor:
        """What x_0 stands for -> x_0, float32."""
        return (values - self.mean.float()) / self.scale.float()

    def denormalise(self, x_0: Tensor) -> Tensor:
        """x_0 -> what it stands for, of the same shape, float32, nothing cut: pixels 0 to 1, cells, or latents."""
        return x_0.float() * self.scale.float() + self.mean.float()

    @property
    def vocoder_in_use(self) -> str | None:
        """What turns x_0 into sound where more than an inverse transform is needed, in words; None elsewhere."""
        return None

    def share_cut(self, x_0: Tensor) -> float | None:
        """Share of the cells (B, C, H, W) that `decode` cuts visibly; None where the signal itself tells."""
        return None

    def levels(self, x_0: Tensor) -> Tensor | None:
        """x_0 (B, C, H, W) of pictures before they are cut, black 0 and white 1; None where that is not known."""
        return None

    def decibels(self, x_0: Tensor) -> Tensor | None:
        """x_0 (B, C, H, W) of sound -> the level of each cell in dB (B, H, W); None of pictures."""
        return None


def spectrogram_images(shade: Tensor, scale: int) -> list[Image.Image]:
    """Spectrograms (B, F, T), 0 silent and 1 loud, as pictures, low frequencies at the bottom, silence dark."""
    # Imported here: most commands look at no spectrogram.
    import matplotlib

    colours = matplotlib.colormaps["magma"](shade.clamp(0, 1).flip(-2).cpu().numpy())[..., :3]
    return enlarged([Image.fromarray((one * 255).astype("uint8")) for one in colours], scale)


def enlarged(images: list[Image.Image], scale: int) -> list[Image.Image]:
    """Pictures with `scale` pixels a pixel."""
    return [image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST) for image in images]


def measure_channels(batches: Iterable[Tensor], least: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over batches (B, C, H, W): two of (C, 1, 1) float64, on the CPU.

    least: deviation that is given to a channel that is everywhere the same, or nearly.
    """
    num, total, squares = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for batch in batches:
        values = batch.double().transpose(0, 1).flatten(1).cpu()  # (C, B * H * W)
        num += values.shape[1]
        total = total + values.sum(1)
        squares = squares + values.square().sum(1)
    if not num:
        raise InputError("nothing to measure the codec on; add some data")
    mean = total / num
    deviation = (squares / num - mean.square()).clamp(min=least**2).sqrt()
    return mean.view(-1, 1, 1), deviation.view(-1, 1, 1)
