"""Published vision encoders, frozen: pictures as each was trained to see them, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synesthete import hub
from synesthete.conditioning.fitting import fit_picture, flatten
from synesthete.conditioning.frozen_encoder import FIELD, FrozenEncoder, one_line
from synesthete.conditioning.vision_families import family_of
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image
    from torch import Tensor

SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")
ENCODER = "a vision encoder"
# Pictures that go through an encoder at once: a shard of hundreds would fill the memory with activations.
CHUNK = 32
# A tower inside a larger model has its name before its weights'.
PREFIXES = {r"^(model\.)?(vision_model|visual)\.": ""}


@dataclass(frozen=True)
class Geometry:
    """What has to be known of an encoder before its weights are here.

    width: of a token. cell: side of the square of pixels that a token stands for. size: side of the pictures in
    pixels, None where any will do. own: whether its preprocessor makes pictures of that size.
    """

    width: int
    cell: int
    size: int | None
    own: bool = True


# As their config.json and preprocessor_config.json on the Hub say; 448 for those that read any size.
KNOWN = {
    "openai/clip-vit-base-patch32": Geometry(768, 32, 224),
    "openai/clip-vit-base-patch16": Geometry(768, 16, 224),
    "openai/clip-vit-large-patch14": Geometry(1024, 14, 224),
    "google/siglip-base-patch16-224": Geometry(768, 16, 224),
    "google/siglip-so400m-patch14-384": Geometry(1152, 14, 384),
    "facebook/dinov2-small": Geometry(384, 14, 224),
    "facebook/dinov2-base": Geometry(768, 14, 224),
    "facebook/dinov2-large": Geometry(1024, 14, 224),
    "Qwen/Qwen3-VL-2B-Instruct": Geometry(2048, 32, 448, own=False),
    "Qwen/Qwen3-VL-4B-Instruct": Geometry(2560, 32, 448, own=False),
    "Qwen/Qwen3-VL-8B-Instruct": Geometry(4096, 32, 448, own=False),
}


def find_geometry(model: str) -> Geometry:
    """The geometry of an encoder by Hub id or folder: from the table, else from its settings, which are small files.

    Raises:
        InputError: neither on this machine nor to be had, or a model without a vision encoder that is known here.
    """
    if model in KNOWN:
        return KNOWN[model]
    folder = hub.find_weights(model, SETTINGS, field=FIELD)
    config = read_config(model, folder)
    family = family_of(model, config)
    own = own_size(read_processor(model, folder))
    return Geometry(family.width(config), family.cell(config), own, own=own is not None)


class VisionTower(FrozenEncoder):
    """A vision encoder of transformers.

    Args:
        model: a Hub id, or a folder with config.json, preprocessor_config.json and weights.
        size: side in pixels to which pictures are scaled and cropped; None leaves that to the model's preprocessor.
    """

    kind = ENCODER

    def __init__(self, model: str, size: int | None = None) -> None:
        super().__init__(model, FIELD)
        self.size = size

    @cached_property
    def processor(self) -> Any:
        """Its image processor, over Pillow."""
        return read_processor(self.model, self.folder)

    def _read_network(self) -> Any:
        from transformers import AutoModel

        config = read_config(self.model, self.folder)
        family_of(self.model, config)
        return self.read(AutoModel, config, key_mapping=PREFIXES, trust_remote_code=False)

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, 3, size, size) uint8, before normalisation.

        Raises:
            InputError: a preprocessor that does not make pictures of one size, where none was given.
        """
        if self.size is not None:
            fitted = [fit_picture(picture, self.size, "RGB", "cover") for picture in pictures]
        elif own_size(self.processor) is None:
            raise InputError(f"{self.model} reads pictures of any size; choose one with --set conditioner.size=448")
        else:
            plain = [flatten(picture, "RGB") for picture in pictures]
            fitted = self.processor(plain, do_rescale=False, do_normalize=False)["pixel_values"]
        return torch.from_numpy(np.stack(fitted).astype(np.uint8, copy=False))

    def normalise(self, raw: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, as its preprocessor would."""
        x = raw.float()
        if self.processor.do_rescale:
            x = x * self.processor.rescale_factor
        if self.processor.do_normalize:
            mean, std = (x.new_tensor(v).view(-1, 1, 1) for v in (self.processor.image_mean, self.processor.image_std))
            x = (x - mean) / std
        return x

    @torch.no_grad()
    def extract_features(self, raw: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 (B, 1 + L, width): the pooled vector, then the tokens row by row."""
        network = self.network.to(raw.device)
        read = family_of(self.model, network.config).read
        # What is computed beforehand must be what training would see under autocast, too.
        with torch.autocast(raw.device.type, enabled=False):
            return torch.cat([read(network, self.normalise(part)) for part in raw.split(CHUNK)])


def own_size(processor: Any) -> int | None:
    """Side in pixels of the square pictures that an image processor makes; None where they are of any size."""
    if getattr(processor, "do_center_crop", None):
        size = processor.crop_size
    else:
        size = processor.size if processor.do_resize else None
    sides = {getattr(size, "height", None), getattr(size, "width", None)}
    return sides.pop() if len(sides) == 1 else None


def read_config(model: str, folder: Path) -> Any:
    """The configuration of the vision encoder in a model's folder."""
    # Imported here, as below: most commands look through no published encoder.
    from transformers import AutoConfig

    with one_line(model, ENCODER):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return getattr(config, "vision_config", config)


def read_processor(model: str, folder: Path) -> Any:
    """The image processor of a model's folder."""
    from transformers import AutoImageProcessor

    with one_line(model, ENCODER):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
