"""The tiny autoencoders that were distilled from large ones, as published: residual convolutions, no attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

WIDTH = 64
GROUPS = 4
BOUND = 3.0  # what the decoder is given is held within this, smoothly


class Block(nn.Module):
    """Three convolutions beside a shortcut; where it pools, a wide normalised pointwise layer comes before them.

    The wide layer's group norm sees the whole grid, which gives the coarse level of some of these networks a notion of
    the whole picture.
    """

    def __init__(self, *, pools: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool = None
        if pools:
            wide = 4 * WIDTH
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, wide, 1, bias=False),
                nn.GroupNorm(GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64, H, W) -> the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Bounded(nn.Module):
    """Latents held within +-3 by tanh, as the decoder was trained on them."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return torch.tanh(x / BOUND) * BOUND


class TinyAutoencoder(nn.Module):
    """Pictures in [0, 1] (B, 3, H, W) <-> latents (B, latent_channels, H / 8, W / 8).

    Layers go by the numbers that they have in the published files (`read_layout`).
    Source: TAESD (Bohan 2023, github.com/madebyollin/taesd), a distillation of Stable Diffusion's and FLUX's
    autoencoders.
    """

    downsampling = 8

    def __init__(self, latent_channels: int = 4, *, pools: bool = False) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        encoder: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), Block(pools=False)]
        for level in range(3):
            encoder.append(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False))
            encoder += [Block(pools=pools and level == 2) for _ in range(3)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(WIDTH, latent_channels, 3, padding=1))
        decoder: list[nn.Module] = [Bounded(), nn.Conv2d(latent_channels, WIDTH, 3, padding=1), nn.ReLU()]
        for level in range(3):
            decoder += [Block(pools=pools and level == 0) for _ in range(3)]
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
        self.decoder = nn.Sequential(*decoder, Block(pools=False), nn.Conv2d(WIDTH, 3, 3, padding=1))

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> latents."""
        return self.encoder(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> (B, 3, H, W), about [0, 1]."""
        return self.decoder(latents)


def read_layout(encoder: Mapping[str, Tensor]) -> dict[str, int | bool]:
    """Arguments of the `TinyAutoencoder` whose encoder has these weights."""
    last = max(encoder, key=lambda name: (int(name.split(".")[0]), name.endswith("weight")))
    return {"latent_channels": len(encoder[last]), "pools": any(".pool." in name for name in encoder)}
