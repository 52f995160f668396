"""Pictures as they are: every channel centred and scaled, no network in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from synesthete.codecs.codec import Codec, enlarged
from synesthete.picture_decoder import as_shown
from synesthete.types import InputError

MODES = {1: "L", 3: "RGB"}
LEVEL = 1 / 255  # the least difference of two 8-bit pixels


class PixelCodec(Codec):
    """Pictures (B, C, H, W), uint8 or float in [0, 1] <-> normalised x_0 (B, C, H, W).

    x_0 is the picture in [0, 1] minus `mean`, divided by `scale`: two buffers with a number for each channel which
    `fit` measures on a corpus, so they are saved with the model. Before that, x_0 is in [-1, 1]. No value of x_0 is cut
    before it is a picture again.

    Args:
        size: sides of every picture in pixels, one number for a square or (H, W).
        channels: 1 for grey, 3 for RGB.

    Raises:
        InputError: a size under one pixel, or another number of channels.
    """

    makes_pictures = True

    def __init__(self, size: int | tuple[int, int] = 32, channels: int = 3) -> None:
        super().__init__()
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2 or min(sides) < 1:
            raise InputError(f"codec size {size}: need a number of pixels, or two (height, width)")
        if channels not in MODES:
            raise InputError(f"codec of {channels} channels; give 1 for grey or 3 for RGB")
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("scale", torch.full((channels, 1, 1), 0.5))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_0 without the batch: (C, H, W)."""
        size = self.config.size
        height, width = (size, size) if isinstance(size, int) else size
        return (self.config.channels, height, width)

    @property
    def black(self) -> Tensor:
        """The value of x_0 in each channel (C, 1, 1) wherever a picture is black, as silence is of sound."""
        return -self.mean.float() / self.scale.float()

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, C, H, W) uint8: upright, transparency on white, scaled and cut to fit.

        Raises:
            InputError: values that cannot be shown.
        """
        fitted = [self._fitted(picture) for picture in pictures]
        return torch.from_numpy(np.stack(fitted)) if fitted else torch.empty(0, *self.shape, dtype=torch.uint8)

    @torch.no_grad()
    def fit(self, pictures: Iterable[Tensor]) -> PixelCodec:
        """Measure each channel's `mean` and `scale` (the standard deviation) on batches of pictures (B, C, H, W)."""
        # A channel that is everywhere the same keeps its levels apart.
        return self.measure((self.unit(batch, torch.float64) for batch in pictures), LEVEL)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W), uint8 or float in [0, 1] -> x_0 (B, C, H, W) float32."""
        return self.normalise(self.unit(pictures))

    @torch.no_grad()
    def levels(self, x_0: Tensor) -> Tensor:
        """As every codec of pictures."""
        return self.denormalise(x_0)

    def decode(self, x_0: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        """x_0 (B, C, H, W) -> pictures (B, C, H, W) uint8, clamped here and nowhere before; exact for encoded uint8.

        generators: taken as every codec takes them; nothing is drawn.
        """
        self.check(x_0)
        return (self.denormalise(x_0) / LEVEL).round().clamp(0, 255).to(torch.uint8)

    def share_cut(self, x_0: Tensor, visible: float = 0.05) -> float:
        """Share of the cells (B, C, H, W) that `decode` cuts visibly: beyond black or white by more than `visible`."""
        unit = self.denormalise(x_0)
        return ((unit < -visible) | (unit > 1 + visible)).float().mean().item()

    def pictures(self, x_0: Tensor, scale: int = 1) -> list[Image.Image]:
        """Each x_0 of (B, C, H, W) as a picture, grey or RGB, `scale` pixels a pixel."""
        values = self.decode(x_0).permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, C)
        images = [Image.fromarray(value.squeeze(-1) if value.shape[-1] == 1 else value) for value in values]
        return enlarged(images, scale)

    def _fitted(self, picture: Image.Image) -> np.ndarray:
        """One picture -> (C, H, W) uint8."""
        picture = as_shown(picture)
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        channels, height, width = self.shape
        picture = picture.convert(MODES[channels])
        if picture.size != (width, height):
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
        values = np.asarray(picture).reshape(height, width, channels)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def unit(self, pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Pictures as they are given (B, C, H, W) -> black 0 and white 1; what is wrong with them is said."""
        if pictures.shape[1:] != self.shape:
            raise InputError(
                f"pictures of shape {tuple(pictures.shape)}: this codec needs (B, {', '.join(map(str, self.shape))}); "
                "resize them or set codec.size and codec.channels"
            )
        if pictures.dtype == torch.uint8:
            return pictures.to(dtype) / 255
        if not pictures.is_floating_point():
            raise InputError(f"pictures of {pictures.dtype}; give uint8, or float in [0, 1]")
        if not torch.isfinite(pictures).all():
            raise InputError("pictures with NaN or infinite pixels; mend or remove them")
        if pictures.numel() and (pictures.min() < 0 or pictures.max() > 1):
            low, high = pictures.min().item(), pictures.max().item()
            raise InputError(f"float pictures from {low:.3g} to {high:.3g}; scale them to [0, 1], or give uint8")
        return pictures.to(dtype)
