"""What pictures are compared by: a row of numbers each, from Inception, CLIP, or a classifier trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image

from synesthete import hub
from synesthete.conditioning.frozen_encoder import one_line
from synesthete.conditioning.vision_tower import VisionTower
from synesthete.evaluation.classifiers.image import check_pictures
from synesthete.evaluation.pictures.inception import MODEL, WIDTH, find_inception, local_inception, read_inception
from synesthete.nn.device import find_device
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.rows import Rows
    from synesthete.evaluation.classifiers.image import ImageClassifier

CLIP = "openai/clip-vit-base-patch32"
CHOICES = ("auto", "classifier", "inception", "clip")
CHUNK = 16  # pictures that go through a large network at once


class Features(Protocol):
    """Pictures (n, C, H, W) uint8 -> (n, D) float32 on the CPU; a picture has the same row in any company.

    name: for reports, part of the name of every figure that is computed on them.
    """

    name: str

    def __call__(self, pictures: Tensor | Rows) -> Tensor:
        """(n, C, H, W) uint8 -> (n, D)."""
        ...


class ClassifierFeatures:
    """What a judge's last layer reads, standardised over the real pictures that it learned from.

    Figures on them compare models of one data set only: another data set has another judge.
    """

    def __init__(self, judge: ImageClassifier) -> None:
        self.judge = judge
        self.name = f"classifier-{len(judge.config.class_names)}"

    def __call__(self, pictures: Tensor | Rows) -> Tensor:
        """(n, C, H, W) uint8 -> (n, D)."""
        return self.judge.features(pictures)


class InceptionFeatures:
    """The 2048 features of FID and KID; grey pictures are read as colour ones.

    Args:
        model: an id, a folder, or the file of the weights. device: where it is computed.
    """

    name = "inception"

    def __init__(self, model: str | Path = MODEL, device: str = "auto") -> None:
        self.network = read_inception(find_inception(str(model))).to(find_device(device))

    @torch.no_grad()
    def __call__(self, pictures: Tensor | Rows) -> Tensor:
        """(n, C, H, W) uint8 -> (n, 2048).

        Raises:
            InputError: no uint8 pictures.
        """
        check_pictures(pictures)
        device = self.network.Conv2d_1a_3x3.conv.weight.device
        found = [self.network(_coloured(part).to(device)).cpu() for part in _parts(pictures)]
        return torch.cat(found) if found else torch.zeros(0, WIDTH)


class ClipFeatures:
    """The picture's vector in the space that CLIP shares between pictures and text (Radford et al. 2021).

    Args:
        model: a Hub id, or a folder with config.json, preprocessor_config.json and weights. device: where it is
            computed.
    """

    def __init__(self, model: str | Path = CLIP, device: str = "auto") -> None:
        model = str(model)
        self.tower, self.name = VisionTower(model), Path(model).name
        try:
            self.network = read_clip(model, self.tower.folder).to(find_device(device))
            self.tower.processor  # noqa: B018 - read now, so that what is missing is said now
        except InputError as error:
            reason = str(error).partition("; give another")[0].partition(" or pass --set")[0]
            raise InputError(f"{reason}; --features takes {', '.join(CHOICES)} or a folder") from None

    @torch.no_grad()
    def __call__(self, pictures: Tensor | Rows) -> Tensor:
        """(n, C, H, W) uint8 -> (n, D).

        Raises:
            InputError: no uint8 pictures.
        """
        check_pictures(pictures)
        found = []
        for part in _parts(pictures):
            images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in _coloured(part)]
            x = self.tower.normalise(self.tower.preprocess(images)).to(self.network.device)
            found.append(self.network(pixel_values=x).image_embeds.float().cpu())
        return torch.cat(found) if found else torch.zeros(0, self.network.config.projection_dim)


def find_features(choice: str, judge: ImageClassifier | None) -> Features:
    """The features called `choice`, one of CHOICES, a folder or file of weights, or the Hub id of a CLIP.

    "auto" is Inception where its weights are on this machine, else the classifier: nothing is downloaded for it.

    Raises:
        InputError: an unknown choice, weights that are neither here nor to be had, or the classifier without a judge.
    """
    if choice == "auto":
        choice = "inception" if local_inception() else "classifier"
    if choice == "classifier":
        if judge is None:
            raise InputError(
                "no judge to describe pictures by; --set data.num_judge=400 keeps some for one, or give --features clip"
            )
        return ClassifierFeatures(judge)
    if choice == "inception":
        return InceptionFeatures()
    if choice == "clip":
        return ClipFeatures()
    path = Path(choice).expanduser()
    if path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
        return InceptionFeatures(path)
    if path.is_dir():
        return ClipFeatures(path)
    if hub.is_hub_id(choice):
        return InceptionFeatures(choice) if choice == MODEL else ClipFeatures(choice)
    raise InputError(f"no features {choice!r}; give {', '.join(CHOICES)}, or a folder or file of weights")


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
        network, loading = CLIPVisionModelWithProjection.from_pretrained(
            folder, config=config, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
    if loading["missing_keys"]:
        raise InputError(f"{folder}: lacks {min(loading['missing_keys'])}; download the model again")
    return network.eval().requires_grad_(False)


def _parts(pictures: Tensor | Rows) -> list[Tensor]:
    return [pictures[first : first + CHUNK] for first in range(0, len(pictures), CHUNK)]


def _coloured(pictures: Tensor) -> Tensor:
    return pictures.expand(-1, 3, -1, -1)
