"""What a published vision encoder sees in a picture, as a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.conditioning.image_conditioner import ImageConditioner
from synesthete.conditioning.vision_tower import VisionTower, find_geometry
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor


class VisionEncoder(ImageConditioner):
    """Pictures through a frozen vision encoder of transformers, its tokens and pooled vector brought to `width`.

    CLIP, SigLIP, DINOv2 and any other plain ViT, or the vision tower of Qwen3-VL. The encoder is found by its id when
    it is first needed; only the two projections and the learned null are trained and saved with a model. What it says
    of a picture never changes, so `extract_features` can be done beforehand, once.

    Args:
        model: Hub id, or a folder with config.json, preprocessor_config.json and weights.
        width: D of tokens and pooled.
        size: side in pixels to which pictures are scaled and cropped; None as the model's preprocessor does it (448
            for the Qwen3-VL that are known here, which read any size).
        num_tokens, encoder_width: L and width of the encoder's tokens; None finds them in its settings.

    Raises:
        InputError: a model whose settings are neither known nor found, or a size that it cannot take.
    """

    def __init__(
        self,
        model: str = "openai/clip-vit-base-patch32",
        width: int = 256,
        size: int | None = None,
        num_tokens: int | None = None,
        encoder_width: int | None = None,
    ) -> None:
        super().__init__()
        if num_tokens is None or encoder_width is None:
            geometry = find_geometry(model)
            size = size if geometry.own else size or geometry.size
            side = size or geometry.size
            if side is None:
                raise InputError(f"{model} reads pictures of any size; choose one with --set conditioner.size=448")
            if side < 2 * geometry.cell or (not geometry.own and side % geometry.cell):
                raise InputError(
                    f"conditioner.size {side}: {model} cuts pictures into squares of {geometry.cell} pixels; "
                    f"--set conditioner.size={geometry.cell * max(2, round(side / geometry.cell))}"
                )
            num_tokens, encoder_width = (side // geometry.cell) ** 2, geometry.width
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(size=size, num_tokens=num_tokens, encoder_width=encoder_width)
        self.tower = VisionTower(model, size)
        self.to_tokens = nn.Sequential(nn.LayerNorm(encoder_width), nn.Linear(encoder_width, width))
        self.to_pooled = nn.Sequential(nn.LayerNorm(encoder_width), nn.Linear(encoder_width, width))
        self.null_tokens = nn.Parameter(0.5 * torch.randn(num_tokens, width))
        self.null_pooled = nn.Parameter(0.5 * torch.randn(width))

    @property
    def has_fixed_features(self) -> bool:
        """Whether what it sees in a picture never changes: always."""
        return True

    def identity(self) -> dict[str, Any]:
        """What decides the features of a picture: the model, the digest of its files, and how pictures are fitted."""
        return {
            "model": self.config.model,
            "weights": self.tower.digest,
            "size": self.config.size,
        }

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, 3, H, W) uint8, of the size that the encoder reads."""
        return self.tower.preprocess(pictures)

    def extract_features(self, raw: Tensor) -> Tensor:
        """What the frozen encoder sees: (B, 3, H, W) uint8 -> (B, 1 + L, encoder_width) float32, without gradient.

        The pooled vector comes first, then the tokens row by row. What was seen already (floating) is left as it is.

        Raises:
            InputError: no such model on this machine or the Hub, or another than the projections were made for.
        """
        seen = raw if raw.is_floating_point() else self.tower.extract_features(raw)
        expected = (1 + self.config.num_tokens, self.config.encoder_width)
        if tuple(seen.shape[1:]) != expected:
            raise InputError(
                f"features of shape {tuple(seen.shape[1:])} for {self.config.model}, which gives {expected}; "
                "prepare the data again with this conditioner"
            )
        return seen

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: pictures (B, 3, H, W) uint8, or their `extract_features` (B, 1 + L, encoder_width)."""
        seen = self.extract_features(raw).to(self.null_pooled.dtype)
        return Condition(tokens=self.to_tokens(seen[:, 1:]), pooled=self.to_pooled(seen[:, 0]))
