"""The Inception network that FID and KID are defined on, reading the published weights by name.

It differs from the usual Inception v3 (Szegedy et al. 2016) in the manner of TensorFlow's graph of 2015-12-05: average
pools leave the padding out of the mean, the last block pools by maximum, pictures are resized as TensorFlow 1 did
and scaled to (x - 128) / 128.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from synesthete import hub
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "mseitzer/pytorch-fid"
# The second is torch-fidelity's copy of the same file.
FILES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
DIGEST = "6726825d"  # sha256 begins with it
PATTERNS = ("*.safetensors", "*.pth")
SIDE = 299
WIDTH = 2048

Kernel = int | tuple[int, int]
ROW, COLUMN = (1, 7), (7, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of block. branches: name -> its convolutions (width, kernel, stride 1 or as given), one after the other.

    A width of 0 is the block's own `inner`. More than one convolution of a branch are called name_1, name_2 ...; forked
    branches end in two side by side, name_a and name_b. pool: "average" and "maximum" keep the size, "reduce" halves it
    by maximum.
    """

    branches: dict[str, list[tuple[Any, ...]]]
    pool: str = "average"
    forked: tuple[str, ...] = ()


FORK = ((384, (1, 3)), (384, (3, 1)))
BLOCK_E = {"branch1x1": [(320, 1)], "branch3x3": [(384, 1)], "branch3x3dbl": [(448, 1), (384, 3)]}
KINDS = {
    "A": Kind(  # 35 x 35
        {
            "branch1x1": [(64, 1)],
            "branch5x5": [(48, 1), (64, 5)],
            "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
        }
    ),
    "B": Kind({"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]}, "reduce"),  # to 17 x 17
    "C": Kind(  # 17 x 17
        {
            "branch1x1": [(192, 1)],
            "branch7x7": [(0, 1), (0, ROW), (192, COLUMN)],
            "branch7x7dbl": [(0, 1), (0, COLUMN), (0, ROW), (0, COLUMN), (192, ROW)],
        }
    ),
    "D": Kind(  # to 8 x 8
        {
            "branch3x3": [(192, 1), (320, 3, 2)],
            "branch7x7x3": [(192, 1), (192, ROW), (192, COLUMN), (192, 3, 2)],
        },
        "reduce",
    ),
    "E": Kind(BLOCK_E, "average", ("branch3x3", "branch3x3dbl")),  # 8 x 8
    "F": Kind(BLOCK_E, "maximum", ("branch3x3", "branch3x3dbl")),
}
# Name, kind, width that comes in, width after the pool (0: no convolution there), and `inner`.
BLOCKS = (
    ("Mixed_5b", "A", 192, 32, 0),
    ("Mixed_5c", "A", 256, 64, 0),
    ("Mixed_5d", "A", 288, 64, 0),
    ("Mixed_6a", "B", 288, 0, 0),
    ("Mixed_6b", "C", 768, 192, 128),
    ("Mixed_6c", "C", 768, 192, 160),
    ("Mixed_6d", "C", 768, 192, 160),
    ("Mixed_6e", "C", 768, 192, 192),
    ("Mixed_7a", "D", 768, 0, 0),
    ("Mixed_7b", "E", 1280, 192, 0),
    ("Mixed_7c", "F", 2048, 192, 0),
)


class Convolution(nn.Module):
    """A convolution without bias, batch norm and ReLU; at stride 1 padded to keep the size, else not at all."""

    def __init__(self, width: int, out_width: int, kernel: Kernel, stride: int = 1, *, same: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same and stride == 1 else 0
        self.conv = nn.Conv2d(width, out_width, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, out_width, h, w)."""
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches side by side and a pool, joined by channels. pooled: width of the convolution after the pool, or 0."""

    def __init__(self, kind: Kind, width: int, pooled: int, inner: int) -> None:
        super().__init__()
        self.kind = kind
        self.steps: list[list[list[str]]] = []  # names of convolutions: by branch, step, side by side
        for branch, layers in kind.branches.items():
            place, num = width, len(layers) + (branch in kind.forked)
            self.steps.append([])
            for i, (out_width, *how) in enumerate(layers, start=1):
                name = branch if num == 1 else f"{branch}_{i}"
                self.add_module(name, Convolution(place, out_width or inner, *how))
                self.steps[-1].append([name])
                place = out_width or inner
            if branch in kind.forked:
                self.steps[-1].append([f"{branch}_{num}{letter}" for letter in "ab"])
                for name, (out_width, kernel) in zip(self.steps[-1][-1], FORK, strict=True):
                    self.add_module(name, Convolution(place, out_width, kernel))
        self.branch_pool = Convolution(width, pooled, 1) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, sum of the branches' widths, h, w)."""
        found = []
        for branch in self.steps:
            y = x
            for step in branch:
                y = torch.cat([self.get_submodule(name)(y) for name in step], dim=1)
            found.append(y)
        if self.kind.pool == "average":
            y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        else:
            y = F.max_pool2d(x, 3, 2) if self.kind.pool == "reduce" else F.max_pool2d(x, 3, 1, 1)
        return torch.cat([*found, self.branch_pool(y)], dim=1)


class Inception(nn.Module):
    """Pictures (B, 3, H, W) uint8 -> the mean over the last block's places, (B, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, same=False)
        for name, kind, width, pooled, inner in BLOCKS:
            self.add_module(name, Mixed(KINDS[kind], width, pooled, inner))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 2048)."""
        x = (resize(pictures.float(), SIDE) - 128) / 128  # (B, 3, 299, 299)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)  # (B, 64, 73, 73)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2)  # (B, 192, 35, 35)
        for name, *_ in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def resize(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, C, side, side), bilinearly, corner on corner and not smoothed, as TensorFlow 1 did."""
    return _sampling(x.shape[2], side).to(x) @ x @ _sampling(x.shape[3], side).to(x).T


def _sampling(size: int, side: int) -> Tensor:
    """Matrix (side, size): place i of the resized side is at i * size / side, between two pixels or on the last."""
    places = torch.arange(side, dtype=torch.float32) * torch.tensor(size / side, dtype=torch.float32)
    low = places.long()
    share = (places - low)[:, None]
    pixels = F.one_hot(low, size), F.one_hot((low + 1).clamp(max=size - 1), size)
    return torch.lerp(pixels[0].float(), pixels[1].float(), share)


def read_inception(weights: Path) -> Inception:
    """The network with the weights of a file, frozen, in evaluation mode.

    Raises:
        InputError: a damaged file, one that holds more than tensors, or the weights of another network.
    """
    try:
        if weights.suffix == ".safetensors":
            found = load_file(weights)
        else:
            found = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{weights}: no such file; give that of the Inception of {FILES[0]}") from None
    except Exception:  # pickle, zip and safetensors each have their own
        raise InputError(f"{weights}: damaged, or more than tensors in it; download the file again") from None
    with torch.device("meta"):  # no weights are drawn that the file's would replace
        network = Inception()
    weights_by_name = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # older files have none, and nothing is trained here
            weights_by_name[name] = torch.zeros(())
            continue
        if not isinstance(found, dict) or getattr(found.get(name), "shape", None) != value.shape:
            raise InputError(f"{weights}: lacks {name} {tuple(value.shape)}; give the Inception of {FILES[0]}")
        weights_by_name[name] = found[name].float()
    # What is left over is the layer that names classes, which no distance needs.
    network.load_state_dict(weights_by_name, assign=True)
    return network.eval().requires_grad_(False)


def local_inception(name: str = MODEL) -> Path | None:
    """The weights' file by its own path, a folder's, or an id, where it is on this machine; else None.

    An id is looked for in SYNESTHETE_WEIGHTS and the Hugging Face cache. The published file is also looked for where
    pytorch-fid and torch-fidelity leave it, in the cache of `torch.hub`.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folder = path if path.is_dir() else hub.local_weights(name, PATTERNS)
    found = [file for pattern in PATTERNS for file in sorted(folder.glob(pattern))] if folder else []
    if not found and name == MODEL:
        checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
        found = [checkpoints / file for file in FILES if (checkpoints / file).is_file()]
    return found[0] if found else None


def find_inception(name: str = MODEL) -> Path:
    """As `local_inception`, the published file downloaded where it is not here yet, and checked.

    Raises:
        InputError: no such file, or no connection.
    """
    if found := local_inception(name):
        return found
    if name != MODEL:
        raise InputError(f"{name}: no *.pth or *.safetensors there; give the file of the Inception of {FILES[0]}")
    folder, url = hub.weights_folder() / MODEL, hub.PRETRAINED[MODEL].url
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(folder / FILES[0]), DIGEST, progress=False)
    except Exception as error:  # of the connection, the disk, or a file that is another
        with contextlib.suppress(OSError):
            folder.rmdir()
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"the Inception of FID is not on this machine and cannot be downloaded ({reason}); put {url} at "
            f"{folder / FILES[0]}, or take --features classifier"
        ) from None
    return folder / FILES[0]
