"""Latents of an autoencoder trained here, over any other codec: fewer numbers for the denoiser, some detail lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.codecs.codec import Codec
from synesthete.config import is_a
from synesthete.config.build import describe_nested, restore_nested
from synesthete.nn.part import Config
from synesthete.types import InputError

if TYPE_CHECKING:
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from PIL import Image

LEAST_DEVIATION = 1e-4
CHUNK = 16  # samples that go through the network at once


class LatentCodec(Codec):
    """Signal <-> whitened latents x_0 (B, c, h, w) of the grid (B, C, H, W) that another codec makes of it.

    signal -> base.encode -> autoencoder -> latents, minus `mean`, divided by `scale`: two buffers with a number for
    each channel, which `whiten` measures when the autoencoder has learned (`objectives.Autoencoding`); they and its
    weights are saved with the model. x_0 is the posterior's mean, so nothing is drawn. A grid that the network does not
    divide is padded with its own edge, and cut back. There is no attention in the network, which so takes any number
    of columns. Source: latent diffusion, Rombach et al. 2022 (section 3.1).

    Args:
        base: a codec, in a recipe a build of one; {"class": ..., and its fields} in a config.json.
        latent_channels: c. channels: widths of the network's levels, finest first; each after the first halves the
            sides. num_blocks: residual blocks a level.
        patch_size: cells of a side that enter the network as one, as channels: what the finest level costs, squared.

    Raises:
        InputError: a base that is no codec of this package, or sizes below one.
    """

    # What it makes of a signal changes while it learns: no x_0 is kept from before.
    is_learned = True

    def __init__(
        self,
        base: Annotated[Any, is_a("codec", "encode", "decode", "shape")],
        latent_channels: int = 8,
        channels: tuple[int, ...] = (32, 64, 96),
        num_blocks: int = 1,
        patch_size: int = 2,
    ) -> None:
        # Imported here: it takes longer than torch, and most models have no such network.
        from diffusers import AutoencoderKL

        super().__init__()
        if not channels or min(*channels, latent_channels, num_blocks, patch_size) < 1:
            raise InputError(
                f"codec of channels {tuple(channels)}, latent_channels {latent_channels}, num_blocks {num_blocks}, "
                f"patch_size {patch_size}: give at least 1 of each"
            )
        self.base: Any = restore_nested(base, "codec.base", "codec", ("encode", "decode", "shape"), "StftCodec")
        self.register_to_config(base=describe_nested(self.base))
        self.spec, self.makes_pictures = self.base.spec, self.base.makes_pictures
        cells = self.base.shape[0] * patch_size**2
        self.autoencoder: Any = AutoencoderKL(
            in_channels=cells,
            out_channels=cells,
            latent_channels=latent_channels,
            block_out_channels=tuple(channels),
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            layers_per_block=num_blocks,
            norm_num_groups=math.gcd(8, *channels),
            mid_block_add_attention=False,
        ).to(memory_format=torch.channels_last)
        self.downsampling = patch_size * 2 ** (len(channels) - 1)
        self.register_buffer("mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("scale", torch.ones(latent_channels, 1, 1))

    def __getattr__(self, name: str) -> Any:
        if name == "base":  # a module gives the parts of that name, and not its fields
            return self.__dict__["_modules"][name]
        return super().__getattr__(name)

    @property
    def vocoder_in_use(self) -> str | None:
        """As the base's."""
        return self.base.vocoder_in_use

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """As the base's, of pictures."""
        return self.base.preprocess(pictures)

    def denormalise(self, x_0: Tensor) -> Tensor:
        """x_0 (B, c, h, w) -> what the base says of its own x_0."""
        return self.base.denormalise(self.grid(x_0))

    def share_cut(self, x_0: Tensor) -> float | None:
        """As the base says of its own x_0."""
        return self.base.share_cut(self.grid(x_0))

    def decibels(self, x_0: Tensor) -> Tensor | None:
        """As the base says of its own x_0."""
        return self.base.decibels(self.grid(x_0))

    @property
    def config(self) -> Any:
        """Its own fields, and beside them those of its base, such as num_samples, which any codec of sound is asked."""
        return Config({**self.base.config, **super().config})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_0 without the batch: (c, h, w)."""
        height, width = (-(-side // self.downsampling) for side in self.base.shape[1:])
        return (self.config.latent_channels, height, width)

    @property
    def compression(self) -> float:
        """Numbers of the base's x_0 over numbers of this one's."""
        return math.prod(self.base.shape) / math.prod(self.shape)

    @property
    def silence(self) -> Tensor:
        """x_0 of silence (c, h, w)."""
        quiet = torch.as_tensor(self.base.silence).to(self.mean).expand(self.base.shape)
        return self.normalise(self.latents(quiet[None]))[0]

    def fit(self, signals: Iterable[Tensor]) -> LatentCodec:
        """Measure the base on batches of signals; latents are measured by `whiten`, when there is what to measure."""
        self.base.fit(signals)
        return self

    @torch.no_grad()
    def whiten(self, signals: Iterable[Tensor]) -> LatentCodec:
        """Measure each channel's `mean` and `scale` (the standard deviation) on batches of signals."""
        return self.measure((self.latents(self.signal_grid(batch)) for batch in signals), LEAST_DEVIATION)

    @torch.no_grad()
    def encode(self, signal: Tensor) -> Tensor:
        """Signal, as the base takes it -> x_0 (B, c, h, w) float32."""
        return self.normalise(self.latents(self.signal_grid(signal)))

    @torch.no_grad()
    def decode(
        self, x_0: Tensor, generators: Sequence[torch.Generator] | None = None, num_samples: int | None = None
    ) -> Tensor:
        """x_0 (B, c, h, w) of any number of columns -> signal, as the base decodes it.

        generators: one a sample, for what the base draws. num_samples: of sound; None leaves it to the base.
        """
        length = {} if num_samples is None else {"num_samples": num_samples}
        return self.base.decode(self.grid(x_0), generators, **length)

    def signal_grid(self, signal: Tensor) -> Tensor:
        """Signal -> x_0 of the base (B, C, H, W), in float32 whatever the network computes in."""
        with torch.autocast(signal.device.type, enabled=False):
            return self.base.encode(signal)

    @torch.no_grad()
    def grid(self, x_0: Tensor) -> Tensor:
        """x_0 (B, c, h, w) -> x_0 of the base (B, C, H, W), its own width for the own w, else all that w columns hold.

        Raises:
            InputError: other channels or rows, or values that are not finite.
        """
        self.check(x_0, any_number_of="columns")
        latents = super().denormalise(x_0)
        columns = self.base.shape[2] if x_0.shape[-1] == self.shape[2] else x_0.shape[-1] * self.downsampling
        return torch.cat([self.restore(part, columns).float() for part in latents.split(CHUNK)])

    def pictures(self, x_0: Tensor, scale: int | None = None) -> list[Image.Image]:
        """Each x_0 of (B, c, h, w) as the base shows what it stands for; scale: None as large as the base does."""
        return self.base.pictures(self.grid(x_0), *([] if scale is None else [scale]))

    @torch.no_grad()
    def latents(self, x: Tensor) -> Tensor:
        """x_0 of the base (B, C, H, W) -> latents (B, c, h, w) float32, as the network gives them."""
        return torch.cat([self.posterior(part).mode().float() for part in x.split(CHUNK)])

    def posterior(self, x: Tensor) -> DiagonalGaussianDistribution:
        """x_0 of the base (B, C, H, W) -> the distribution of its latents (B, c, h, w); gradients flow."""
        missing = (0, -x.shape[-1] % self.downsampling, 0, -x.shape[-2] % self.downsampling)
        x = F.pixel_unshuffle(F.pad(x.to(self.dtype), missing, mode="replicate"), self.config.patch_size)
        return self.autoencoder.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist

    def restore(self, latents: Tensor, columns: int) -> Tensor:
        """Latents (B, c, h, w) -> x_0 of the base (B, C, H, columns), with nothing on the output; gradients flow."""
        x = F.pixel_shuffle(self.autoencoder.decode(latents.to(self.dtype)).sample, self.config.patch_size)
        return x[..., : self.base.shape[1], :columns].contiguous()
