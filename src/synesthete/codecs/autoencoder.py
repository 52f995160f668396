"""Pictures as the latents of a published autoencoder: fewer numbers for the denoiser, some detail lost for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from synesthete import hub
from synesthete.codecs.codec import Codec
from synesthete.codecs.pixels import PixelCodec
from synesthete.io import read_json
from synesthete.nn.layers import load_weights
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

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


def read_layout(encoder: Mapping[str, Tensor]) -> dict[str, int | bool]:
    """Arguments of the `TinyAutoencoder` whose encoder has these weights."""
    last = max(encoder, key=lambda name: (int(name.split(".")[0]), name.endswith("weight")))
    return {"latent_channels": len(encoder[last]), "pools": any(".pool." in name for name in encoder)}


FIELD = "codec.model"
KIND, KL, TINY = "kind", "AutoencoderKL", "TinyAutoencoder"
TINY_FILES = {"encoder": "*_encoder.pth", "decoder": "*_decoder.pth"}
LEAST_DEVIATION = 1e-4
CHUNK = 16 * 256**2  # pixels that go through the network at once, a picture at least
# Anchored: of a whole Stable Diffusion on the Hub a bare *.safetensors would be every weight there is.
FILE = "diffusion_pytorch_model"
PUBLISHED = (*(f"{place}{FILE}.safetensors" for place in ("", "vae/")), "vae/config.json", "config.json")
AT_HAND = tuple(f"{place}{FILE}*.safetensors" for place in ("", "vae/"))


class AutoencoderCodec(Codec):
    """Pictures (B, C, H, W), uint8 or float in [0, 1] <-> normalised latents x_0 (B, c, h, w).

    x_0 is the latent (the posterior's mean, so nothing is drawn) minus `mean`, divided by `scale`: two buffers with a
    number for each channel which `fit` measures on a corpus. The network is saved with a model, which is loaded without
    the files it came from; until `fit` has read these, its weights are fresh.

    Args:
        model: Hub id or folder of an AutoencoderKL (config.json and safetensors, there or in its folder `vae`), or a
            folder with the files `*_encoder.pth` and `*_decoder.pth` of a tiny one. None: fresh weights, for trials.
        size: sides of every picture in pixels, one number for a square or (H, W). channels: 1 for grey, 3 for RGB.
        network: what the network is, as `read_autoencoder` finds it; None reads it from the model's files.
        scaling_factor: what latents are multiplied by, in place of being measured, for a published denoiser that was
            trained on such: 0.18215 for Stable Diffusion 1 and 2.

    Raises:
        InputError: no such model, another kind of one, or sides that its network does not divide.
    """

    caches_latents = makes_pictures = True

    def __init__(
        self,
        model: str | None = "stabilityai/sd-vae-ft-mse",
        size: int | tuple[int, int] = 96,
        channels: int = 3,
        network: dict[str, Any] | None = None,
        scaling_factor: float | None = None,
    ) -> None:
        super().__init__()
        if scaling_factor is not None and not scaling_factor > 0:
            raise InputError(f"codec.scaling_factor {scaling_factor}: give more than 0; null measures the latents")
        if network is None:
            if model is None:
                raise InputError(f"{FIELD}: none given; give a Hub id or a folder")
            network = read_autoencoder(model)
            self.register_to_config(network=network)  # saved with a model: loading it asks for no file of the network
        self.pixels = PixelCodec(size, channels)
        self.autoencoder: Any
        self.autoencoder, self.downsampling, self.latent_channels = make_autoencoder(network, channels)
        height, width = self.pixels.shape[1:]
        if height % self.downsampling or width % self.downsampling:
            raise InputError(
                f"codec.size {height} x {width}: this autoencoder takes multiples of {self.downsampling} pixels"
            )
        self.register_buffer("mean", torch.zeros(self.latent_channels, 1, 1))
        self.register_buffer("scale", torch.ones(self.latent_channels, 1, 1))
        self.requires_grad_(False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_0 without the batch: (c, h, w)."""
        _, height, width = self.pixels.shape
        return (self.latent_channels, height // self.downsampling, width // self.downsampling)

    @property
    def num_at_once(self) -> int:
        """How many pictures go through the network at once."""
        _, height, width = self.pixels.shape
        return min(16, max(1, CHUNK // (height * width)))

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """As `PixelCodec.preprocess`: pictures of any size and mode -> (B, C, H, W) uint8."""
        return self.pixels.preprocess(pictures)

    @torch.no_grad()
    def fit(self, pictures: Iterable[Tensor]) -> AutoencoderCodec:
        """Read the published weights; measure each channel's `mean` and `scale` on batches of pictures (B, C, H, W).

        With a `scaling_factor` the mean is 0 and the scale its inverse, whatever the pictures are.

        Raises:
            InputError: no pictures, weights that cannot be read or do not fit, or any picture that `encode` refuses.
        """
        if self.config.model is not None:
            load_autoencoder(self.autoencoder, self.config.model)
        if self.config.scaling_factor is not None:
            self.mean.zero_()
            self.scale.fill_(1 / self.config.scaling_factor)
            return self
        return self.measure(map(self._latents, pictures), LEAST_DEVIATION)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W), uint8 or float in [0, 1] -> x_0 (B, c, h, w) float32."""
        return self.normalise(self._latents(pictures))

    @torch.no_grad()
    def decode(self, x_0: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        """x_0 (B, c, h, w) -> pictures (B, C, H, W) uint8.

        generators: taken as every codec takes them; nothing is drawn.
        """
        self.check(x_0)
        latents = self.denormalise(x_0).to(self.dtype)
        found = [self._decode(part).float() for part in latents.split(self.num_at_once)]
        return (torch.cat(found) * 255).round().clamp(0, 255).to(torch.uint8)

    def pictures(self, x_0: Tensor, scale: int = 1) -> list[Image.Image]:
        """Each x_0 of (B, c, h, w) as a picture, grey or RGB, `scale` pixels a pixel."""
        return self.pixels.pictures(self.pixels.encode(self.decode(x_0)), scale)

    def _latents(self, pictures: Tensor) -> Tensor:
        """Latents (B, c, h, w) float32, as the network gives them."""
        unit = self.pixels.unit(pictures, self.dtype)
        return torch.cat([self._encode(part).float() for part in unit.split(self.num_at_once)])

    def _encode(self, unit: Tensor) -> Tensor:
        if isinstance(self.autoencoder, TinyAutoencoder):
            return self.autoencoder.encoder(unit)
        return self.autoencoder.encode(2 * unit - 1).latent_dist.mode()

    def _decode(self, latents: Tensor) -> Tensor:
        if isinstance(self.autoencoder, TinyAutoencoder):
            return self.autoencoder.decoder(latents)
        return (self.autoencoder.decode(latents).sample + 1) / 2


def read_autoencoder(model: str) -> dict[str, Any]:
    """What the network of a Hub id or folder is: {"kind", and its arguments}, without its weights."""
    folder = find_autoencoder(model)
    if (folder / "config.json").is_file():
        config = dict(read_json(folder / "config.json"))
        if config.get("_class_name") != KL:
            raise InputError(f"{model}: a {config.get('_class_name')}, not an {KL}; give another {FIELD}")
        return {KIND: KL} | {key: value for key, value in config.items() if not key.startswith("_")}
    return {KIND: TINY, **read_layout(read_tiny(folder, "encoder"))}


def make_autoencoder(network: Mapping[str, Any], channels: int = 3) -> tuple[nn.Module, int, int]:
    """A network with fresh weights, how many pixels of a side become one latent, and the latents' channels."""
    settings = {key: value for key, value in network.items() if key != KIND}
    if network.get(KIND) == TINY:
        made: Any = TinyAutoencoder(**settings)
        made = made.to(memory_format=torch.channels_last)
        takes, downsampling, latent_channels = 3, made.downsampling, made.latent_channels
    elif network.get(KIND) == KL:
        # Imported here: it takes longer than torch, and most models have no such network.
        from diffusers import AutoencoderKL

        made = AutoencoderKL.from_config(settings)
        takes, latent_channels = made.config.in_channels, made.config.latent_channels
        downsampling = 2 ** (len(made.config.block_out_channels) - 1)
    else:
        raise InputError(f"codec.network: kind {network.get(KIND)!r}; give {KL} or {TINY}")
    if takes != channels:
        raise InputError(f"codec.channels {channels}: this autoencoder takes {takes}; --set codec.channels={takes}")
    return made, downsampling, latent_channels


def load_autoencoder(network: nn.Module, model: str) -> None:
    """The published weights of `model` into its network."""
    folder = find_autoencoder(model)
    if isinstance(network, TinyAutoencoder):
        tensors = {f"{half}.{name}": value for half in TINY_FILES for name, value in read_tiny(folder, half).items()}
    else:
        tensors = hub.read_weights(folder)
    load_weights(network, tensors, f"{model}: its weights do not fit its settings ({{}}); copy it again")


def find_autoencoder(model: str) -> Path:
    """The folder with the autoencoder's files, which may be the folder `vae` of a whole pipeline."""
    path = Path(model).expanduser()
    if path.is_dir() and all(list(path.glob(pattern)) for pattern in TINY_FILES.values()):
        return path
    needed = (*hub.WEIGHTS, "vae/*.safetensors", "vae/*.json") if path.is_dir() else PUBLISHED
    folder = hub.local_weights(model, AT_HAND) or hub.find_weights(model, needed, field=FIELD)
    folder = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{model}: no config.json in it, nor {' and '.join(TINY_FILES.values())}; give another {FIELD}"
        )
    return folder


def read_tiny(folder: Path, half: str) -> dict[str, Tensor]:
    """The weights of a tiny autoencoder's encoder or decoder, read as tensors alone."""
    return {name: value.float() for name, value in hub.read_tensors(min(folder.glob(TINY_FILES[half]))).items()}
