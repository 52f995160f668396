"""The Inception network that FID and KID are defined on, reading the published weights by name.

It differs from the usual Inception v3 (Szegedy et al. 2016) in the manner of TensorFlow's graph of 2015-12-05: average
pools leave the padding out of the mean, the last block pools by maximum, pictures are resized as TensorFlow 1 did
and scaled to (x - 128) / 128.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import hub
from synesthete.types import InputError, first_line

MODEL = "mseitzer/pytorch-fid"
# The second is torch-fidelity's copy of the same file.
FILES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
DIGEST = "6726825d"  # sha256 begins with it
PATTERNS = ("*.safetensors", "*.pth")
SIDE = 299
WIDTH = 2048

# One convolution after the other; "/1" and "/2": at that stride, without padding.
STEM = ("Conv2d_1a_3x3/2 Conv2d_2a_3x3/1 Conv2d_2b_3x3", "Conv2d_3b_1x1 Conv2d_4a_3x3/1")
# Branches side by side, of which some end in two convolutions side by side.
BRANCHES = {
    "A": ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"),  # 35 x 35
    "B": ("branch3x3/2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3/2"),  # to 17 x 17
    "C": (
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
    ),
    "D": ("branch3x3_1 branch3x3_2/2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4/2"),  # to 8 x 8
    "E": (
        "branch1x1",
        "branch3x3_1 branch3x3_2a+branch3x3_2b",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
    ),
}
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "maximum": lambda x: F.max_pool2d(x, 3, 1, 1),
    "reduce": lambda x: F.max_pool2d(x, 3, 2),
}
# Name, branches, and the pool beside them; one that keeps the size has a convolution after it.
BLOCKS = (
    *((f"Mixed_5{letter}", "A", "average") for letter in "bcd"),
    ("Mixed_6a", "B", "reduce"),
    *((f"Mixed_6{letter}", "C", "average") for letter in "bcde"),
    ("Mixed_7a", "D", "reduce"),
    ("Mixed_7b", "E", "average"),
    ("Mixed_7c", "E", "maximum"),
)


class Convolution(nn.Module):
    """A convolution without bias, batch norm and ReLU. shape: of its weight. stride: None is 1, padded."""

    def __init__(self, shape: Sequence[int], stride: int | None = None) -> None:
        super().__init__()
        out_width, width, *sides = shape
        padding = 0 if stride else (sides[0] // 2, sides[1] // 2)
        self.conv = nn.Conv2d(width, out_width, (sides[0], sides[1]), stride or 1, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, out_width, h, w)."""
        return F.relu(self.bn(self.conv(x)))


class Chain(nn.Module):
    """Convolutions by name, as a row of BRANCHES has them: after each other, and joined by channels."""

    def __init__(self, branches: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.branches = [[step.split("+") for step in branch.split()] for branch in branches]
        for called in (each for branch in self.branches for step in branch for each in step):
            name, _, stride = called.partition("/")
            self.add_module(name, Convolution(shapes[name], int(stride) if stride else None))

    def through(self, x: Tensor, steps: Sequence[Sequence[str]]) -> Tensor:
        """(B, width, H, W) -> (B, out_width, h, w)."""
        for step in steps:
            x = torch.cat([self.get_submodule(name.partition("/")[0])(x) for name in step], dim=1)
        return x


class MixedBlock(Chain):
    """Branches side by side and a pool, joined by channels."""

    def __init__(self, branches: Sequence[str], pool: str, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__(branches, shapes)
        self.pool = POOLS[pool]
        self.branch_pool = nn.Identity() if pool == "reduce" else Convolution(shapes["branch_pool"])

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, sum of the branches' widths, h, w)."""
        found = [self.through(x, steps) for steps in self.branches]
        return torch.cat([*found, self.branch_pool(self.pool(x))], dim=1)


class Inception(Chain):
    """Pictures (B, 3, H, W) uint8 -> (B, 2048). shapes: of the convolutions' weights by name, or KeyError."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__(STEM, shapes)
        for name, branches, pool in BLOCKS:
            own = {other.removeprefix(f"{name}."): shape for other, shape in shapes.items()}
            self.add_module(name, MixedBlock(BRANCHES[branches], pool, own))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 2048)."""
        x = (resize(pictures.float(), SIDE) - 128) / 128  # (B, 3, 299, 299)
        for steps in self.branches:
            x = F.max_pool2d(self.through(x, steps), 3, 2)  # (B, 64, 73, 73), (B, 192, 35, 35)
        for name, *_ in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def resize(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, C, side, side), bilinearly, corner on corner and not smoothed, as TensorFlow 1 did."""
    return _sampling(x.shape[2], side).to(x) @ x @ _sampling(x.shape[3], side).to(x).T


def _sampling(size: int, side: int) -> Tensor:
    """Matrix (side, size): place i is at i * size / side, between two pixels or on the last."""
    places = torch.arange(side, dtype=torch.float32) * torch.tensor(size / side, dtype=torch.float32)
    low = places.long()
    share = (places - low)[:, None]
    pixels = F.one_hot(low, size), F.one_hot((low + 1).clamp(max=size - 1), size)
    return torch.lerp(pixels[0].float(), pixels[1].float(), share)


def read_inception(weights: Path) -> Inception:
    """The network with the weights of a file, frozen, in evaluation mode."""
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; give that of the Inception of {FILES[0]}")
    ending, given = ".conv.weight", hub.read_tensors(weights)
    shapes = {name.removesuffix(ending): value.shape for name, value in given.items() if name.endswith(ending)}
    lacking = f"{weights}: lacks {{}}; give the Inception of {FILES[0]}"
    try:
        with torch.device("meta"):  # no weights are drawn that the file's would replace
            network = Inception(shapes)
            network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    except (KeyError, RuntimeError, ValueError) as error:  # one that is not there, or of another width
        raise InputError(lacking.format(error.args[0])) from None
    own = network.state_dict()  # what is left over names classes, which no distance needs
    # Older files do not count batches, and nothing is trained here.
    given |= {name: torch.zeros(()) for name in own if name.endswith("num_batches_tracked")}
    if wrong := [name for name, value in own.items() if name not in given or given[name].shape != value.shape]:
        raise InputError(lacking.format(f"{wrong[0]} {tuple(own[wrong[0]].shape)}"))
    network.load_state_dict({name: given[name].float() for name in own}, assign=True)
    return network.eval().requires_grad_(False)


def local_inception(name: str = MODEL) -> Path | None:
    """The weights' file by its own path, a folder's, or an id, where it is on this machine; else None.

    The published file is also looked for where pytorch-fid and torch-fidelity leave it, in the cache of `torch.hub`.
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
    """As `local_inception`, the published file downloaded where it is not here yet, and checked."""
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
        raise InputError(
            f"the Inception of FID is not on this machine and cannot be downloaded ({first_line(error)}); put {url} at "
            f"{folder / FILES[0]}, or take --features classifier"
        ) from None
    return folder / FILES[0]
