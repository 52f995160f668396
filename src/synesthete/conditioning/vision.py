"""Published vision encoders, frozen: how each is asked, what it sees in a picture, and that as a condition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.conditioner import projection
from synesthete.conditioning.frozen_encoder import FIELD, FrozenEncoder, one_line
from synesthete.conditioning.pictures import ImageConditioner, fit_picture, flatten
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from PIL import Image


class Family(NamedTuple):
    """How an encoder is asked.

    width: of a token. cell: side of the square of pixels that it stands for. read: the network and normalised pictures
    (B, C, H, W) -> (B, 1 + L, width), the pooled vector before the tokens.
    """

    width: int
    cell: int
    read: Callable[[Any, Tensor], Tensor]


def read_transformer(network: Any, x: Tensor) -> Tensor:
    """A ViT: its own pooled vector, and the tokens of the patches, which come last, behind any class or register."""
    config = network.config
    asked = {}
    if x.shape[-1] != config.image_size and "interpolate_pos_encoding" in inspect.signature(network.forward).parameters:
        asked["interpolate_pos_encoding"] = True
    seen = network(pixel_values=x, **asked)
    num_tokens = (x.shape[-2] // config.patch_size) * (x.shape[-1] // config.patch_size)
    tokens = seen.last_hidden_state[:, -num_tokens:]  # (B, L, width)
    pooled = tokens.mean(dim=1) if seen.pooler_output is None else seen.pooler_output
    return torch.cat([pooled[:, None], tokens], dim=1)


def read_qwen(network: Any, x: Tensor) -> Tensor:
    """Qwen3-VL's tower: one long row of patches, merged in squares into what its language model would read."""
    patches, grids = qwen_patches(x, network.config)
    tokens = network(patches, grid_thw=grids).pooler_output.unflatten(0, (len(x), -1))  # (B, L, width), by rows
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


def qwen_patches(x: Tensor, config: Any) -> tuple[Tensor, Tensor]:
    """Pictures (B, C, H, W) -> patches (B * patches, C * frames * P * P) and their grids (B, 3: frames, rows, columns).

    The patches of a square that will be merged follow each other; a still picture is repeated as its frames.
    """
    patch, merge = config.patch_size, config.spatial_merge_size
    rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
    x = x.unflatten(3, (columns // merge, merge, patch)).unflatten(2, (rows // merge, merge, patch))
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, rows / merge, columns / merge, merge, merge, C, P, P)
    x = x.unsqueeze(6).expand(*[-1] * 6, config.temporal_patch_size, -1, -1)
    return x.flatten(0, 4).flatten(1), torch.tensor([[1, rows, columns]] * len(x), device=x.device)


def family_of(model: str, config: Any) -> Family:
    """How an encoder is asked, by the `model_type` of its configuration's class; any plain ViT without an entry."""
    kind = type(config).model_type  # published towers write that of the model they are part of
    if kind in ("qwen3_vl_vision", "qwen3_vl_moe_vision"):
        return Family(config.out_hidden_size, config.patch_size * config.spatial_merge_size, read_qwen)
    sizes = (getattr(config, name, None) for name in ("hidden_size", "patch_size", "image_size"))
    if all(isinstance(size, int) for size in sizes):
        return Family(config.hidden_size, config.patch_size, read_transformer)
    raise InputError(
        f"{model}: a {kind} is no vision transformer that can be read here; "
        f"give CLIP, SigLIP, DINOv2 or Qwen3-VL with --set {FIELD}=ID"
    )


SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")
ANY_SIZE = "{} reads pictures of any size; choose one with --set conditioner.size=448"
# Pictures that go through an encoder at once: a shard of hundreds would fill the memory with activations.
CHUNK = 32
# A tower inside a larger model has its name before its weights'.
PREFIXES = {r"^(model\.)?(vision_model|visual)\.": ""}


class Geometry(NamedTuple):
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


def find_vision_geometry(model: str) -> Geometry:
    """The geometry of an encoder by Hub id or folder: from the table, else from its settings, which are small files."""
    if model in KNOWN:
        return KNOWN[model]
    folder = hub.find_weights(model, SETTINGS, field=FIELD)
    width, cell, _ = family_of(model, read_vision_config(model, folder))
    own = own_size(read_processor(model, folder))
    return Geometry(width, cell, own, own=own is not None)


class VisionTower(FrozenEncoder):
    """A vision encoder of transformers.

    Args:
        model: a Hub id, or a folder with config.json, preprocessor_config.json and weights.
        size: side in pixels to which pictures are scaled and cropped; None leaves that to the model's preprocessor.
    """

    kind = "a vision encoder"

    def __init__(self, model: str, size: int | None = None) -> None:
        super().__init__(model)
        self.size = size

    @cached_property
    def processor(self) -> Any:
        """Its image processor, over Pillow."""
        return read_processor(self.model, self.folder)

    def _read_network(self) -> Any:
        from transformers import AutoModel

        config = read_vision_config(self.model, self.folder)
        family_of(self.model, config)
        return self.read(AutoModel, config, key_mapping=PREFIXES, trust_remote_code=False)

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, 3, size, size) uint8, before normalisation."""
        if self.size is not None:
            fitted = [fit_picture(picture, self.size, "RGB", "cover") for picture in pictures]
        elif own_size(self.processor) is None:
            raise InputError(ANY_SIZE.format(self.model))
        else:
            plain = [flatten(picture, "RGB") for picture in pictures]
            fitted = self.processor(plain, do_rescale=False, do_normalize=False)["pixel_values"]
        return torch.from_numpy(np.stack(fitted).astype(np.uint8, copy=False))

    def normalise(self, raw: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, as its preprocessor would."""
        x, how = raw.float(), self.processor
        if how.do_rescale:
            x = x * how.rescale_factor
        if how.do_normalize:
            mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (how.image_mean, how.image_std))
            x = (x - mean) / std
        return x

    def extract_features(self, raw: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 (B, 1 + L, width): the pooled vector, then the tokens row by row."""
        read = family_of(self.model, self.network.config).read
        with self.exact(raw.device) as network:
            return torch.cat([read(network, self.normalise(part)) for part in raw.split(CHUNK)])


def own_size(processor: Any) -> int | None:
    """Side in pixels of the square pictures that an image processor makes; None where they are of any size."""
    if getattr(processor, "do_center_crop", None):
        size = processor.crop_size
    else:
        size = processor.size if processor.do_resize else None
    sides = {getattr(size, "height", None), getattr(size, "width", None)}
    return sides.pop() if len(sides) == 1 else None


def read_vision_config(model: str, folder: Path) -> Any:
    """The configuration of the vision encoder in a model's folder."""
    # Imported here, as below: most commands look through no published encoder.
    from transformers import AutoConfig

    with one_line(model, VisionTower.kind):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return getattr(config, "vision_config", config)


def read_processor(model: str, folder: Path) -> Any:
    """The image processor of a model's folder."""
    from transformers import AutoImageProcessor

    with one_line(model, VisionTower.kind):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)


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

    has_fixed_features = True  # what it sees in a picture never changes

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
            geometry = find_vision_geometry(model)
            size = size if geometry.own else size or geometry.size
            side = size or geometry.size
            if side is None:
                raise InputError(ANY_SIZE.format(model))
            if side < 2 * geometry.cell or (not geometry.own and side % geometry.cell):
                raise InputError(
                    f"conditioner.size {side}: {model} cuts pictures into squares of {geometry.cell} pixels; "
                    f"--set conditioner.size={geometry.cell * max(2, round(side / geometry.cell))}"
                )
            num_tokens, encoder_width = (side // geometry.cell) ** 2, geometry.width
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(size=size, num_tokens=num_tokens, encoder_width=encoder_width)
        self.tower = VisionTower(model, size)
        self.to_tokens, self.to_pooled = projection(encoder_width, width), projection(encoder_width, width)
        self.make_null(num_tokens, width, scale=0.5, pooled_scale=0.5)

    def identity(self) -> dict[str, Any]:
        """What decides the features of a picture: the model, the digest of its files, and how pictures are fitted."""
        return {"model": self.config.model, "weights": self.tower.digest, "size": self.config.size}

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
