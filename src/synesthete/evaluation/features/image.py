"""Features of pictures by published networks: Inception, and the vision encoder of CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete.conditioning.vision import VisionTower, one_line
from synesthete.evaluation.classifiers.image import check_pictures
from synesthete.evaluation.features.inception import MODEL, WIDTH, find_inception, read_inception
from synesthete.evaluation.features.network import read_network
from synesthete.nn.device import find_device
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from synesthete.data.rows import Rows

CLIP = "openai/clip-vit-base-patch32"
CHUNK = 16  # pictures that go through a large network at once


class InceptionFeatures:
    """The 2048 features of FID and KID; grey pictures are read as colour ones.

    Args:
        model: an id, a folder, or the file of the weights. device: where it is computed.
    """

    name = "inception"

    def __init__(self, model: str | Path = MODEL, device: str = "auto") -> None:
        self.network = read_inception(find_inception(str(model))).to(find_device(device))

    @torch.no_grad()
    def __call__(self, samples: Tensor | Rows) -> Tensor:
        """Pictures (n, C, H, W) uint8 -> (n, 2048).

        Raises:
            InputError: no uint8 pictures.
        """
        device = self.network.Conv2d_1a_3x3.conv.weight.device
        found = [self.network(part.to(device)).cpu() for part in coloured(samples)]
        return torch.cat(found) if found else torch.zeros(0, WIDTH)


class ClipFeatures:
    """The picture's vector in the space that CLIP shares between pictures and text (Radford et al. 2021).

    Args:
        model: a Hub id, or a folder with config.json, preprocessor_config.json and weights. device: where it is
            computed.

    Raises:
        InputError: weights that are neither here nor to be had, or of another kind.
    """

    def __init__(self, model: str | Path = CLIP, device: str = "auto") -> None:
        model = str(model)
        self.tower, self.name = VisionTower(model), Path(model).name
        self.network = read_clip(model, self.tower.folder).to(find_device(device))
        self.tower.processor  # noqa: B018 - read now, so that what is missing is said now

    @torch.no_grad()
    def __call__(self, samples: Tensor | Rows) -> Tensor:
        """Pictures (n, C, H, W) uint8 -> (n, D).

        Raises:
            InputError: no uint8 pictures.
        """
        found = []
        for part in coloured(samples):
            images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in part]
            x = self.tower.normalise(self.tower.preprocess(images)).to(self.network.device)
            found.append(self.network(pixel_values=x).image_embeds.float().cpu())
        return torch.cat(found) if found else torch.zeros(0, self.network.config.projection_dim)


def read_clip(model: str, folder: Path) -> Any:
    """The vision encoder of a CLIP's folder with its projection, frozen, in float32.

    Raises:
        InputError: files that cannot be read, or lack some of its weights.
    """
    # Imported here: most evaluations look through no CLIP.
    from transformers import AutoConfig, CLIPVisionModelWithProjection

    with one_line(model, "a CLIP"):
        whole = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if whole.model_type not in ("clip", "clip_vision_model"):
            raise InputError(f"a {whole.model_type}")
        config = getattr(whole, "vision_config", whole)
        config.projection_dim = whole.projection_dim
    return read_network(CLIPVisionModelWithProjection, model, folder, "a CLIP", config=config)


def coloured(pictures: Tensor | Rows) -> Iterator[Tensor]:
    """Pictures (n, 1 or 3, H, W) uint8 in colour, (b, 3, H, W), CHUNK after CHUNK.

    Raises:
        InputError: no uint8 pictures.
    """
    check_pictures(pictures)
    return (pictures[first : first + CHUNK].expand(-1, 3, -1, -1) for first in range(0, len(pictures), CHUNK))
