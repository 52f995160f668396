"""A judge of pictures: which class one shows and what it looks like, learned from pictures no generator has seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.data.image_augmentation import Affine, FlipCrop
from synesthete.evaluation.judge_folder import RESULT_NAME, write_judge
from synesthete.nn.device import find_device
from synesthete.nn.precision import autocast
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from synesthete.data.labelled import PictureSamples
    from synesthete.data.rows import Rows

    Progress = Callable[[str, int, int], None]

BATCH_SIZE = 64
CHUNK = 256
SMALLEST = 8
INNER = 32  # side in pixels that larger pictures are brought down to by the first convolution's stride
NUM_PASSES, FEWEST_STEPS, MOST_STEPS = 32, 500, 3000


class Residual(nn.Module):
    """(B, width, H, W) -> the same: two convolutions beside the identity (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same."""
        return x + self.layers(x)


def convolution(width: int, out_width: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and ReLU; at stride 1 the size stays."""
    return nn.Sequential(
        nn.Conv2d(width, out_width, kernel_size, stride, 1, bias=False), nn.BatchNorm2d(out_width), nn.ReLU()
    )


class PictureJudge(ModelMixin, ConfigMixin):
    """Pictures (B, channels, H, W) uint8 of SMALLEST pixels or more -> logits (B, num_classes).

    Batch norm uses what it learned in training, so a picture is judged alike whatever it comes with. The features are
    the mean over the picture of what the last layer reads, standardised over the real pictures that the judge learned
    from: x'x / D is about 1 there, which is the scale that the kernel of `distribution.kernel` is made for.

    Args:
        class_names: in the order of the logits. channels: 1 or 3. size: side in pixels of the pictures it is for.
        width: channels of the first convolution; the last ones have four times as many, which are the features.
    """

    @register_to_config
    def __init__(self, class_names: tuple[str, ...] = (), channels: int = 3, size: int = 32, width: int = 32) -> None:
        super().__init__()
        stride = max(1, size // INNER)
        self.layers = nn.Sequential(
            convolution(channels, width, stride + 2, stride),
            convolution(width, 2 * width, stride=2),
            convolution(2 * width, 4 * width, stride=2),
            Residual(4 * width),
        )
        self.head = nn.Linear(4 * width, len(class_names) or 1)
        self.register_buffer("feature_mean", torch.zeros(4 * width))
        self.register_buffer("feature_scale", torch.ones(4 * width))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> logits (B, num_classes)."""
        return self.head(self.pooled(pictures))

    def pooled(self, pictures: Tensor) -> Tensor:
        """What the last layer reads, (B, 4 * width)."""
        x = pictures.to(self.head.weight) / 127.5 - 1
        x = self.layers(x.contiguous(memory_format=torch.channels_last))  # (B, 4 * width, h, w)
        return x.mean(dim=(2, 3))

    def judge(self, pictures: Tensor | Rows) -> Tensor:
        """The class (n,) int64 that each picture (n, C, H, W) uint8 shows."""
        return self.shares(pictures).argmax(dim=1)

    @torch.no_grad()
    def shares(self, pictures: Tensor | Rows) -> Tensor:
        """How sure it is of each class, (n, num_classes) on the CPU; a row sums to one."""
        rows = [self(part).float().softmax(dim=1).cpu() for part in self._parts(pictures)]
        return torch.cat(rows) if rows else torch.zeros(0, self.head.out_features)

    @torch.no_grad()
    def features(self, pictures: Tensor | Rows) -> Tensor:
        """What each picture looks like to it, (n, 4 * width) float32 on the CPU, standardised."""
        rows = [
            ((self.pooled(part) - self.feature_mean) / self.feature_scale).float().cpu()
            for part in self._parts(pictures)
        ]
        return torch.cat(rows) if rows else torch.zeros(0, self.head.in_features)

    def _parts(self, pictures: Tensor | Rows) -> Iterator[Tensor]:
        """The pictures a chunk at a time, where the judge is.

        Raises:
            InputError: not uint8, other channels than the judge's, or too small.
        """
        check_pictures(pictures, self.config.channels)
        self.eval()
        return (pictures[first : first + CHUNK].to(self.device) for first in range(0, len(pictures), CHUNK))


@dataclass(frozen=True)
class PictureJudgeTraining:
    """A judge, and how good it is: accuracy on `num_test` real pictures that it has not seen."""

    judge: PictureJudge
    accuracy: float
    num_test: int
    seconds: float


def check_pictures(pictures: Tensor | Rows, channels: int | None = None) -> None:
    """Refuse what is no (n, C, H, W) uint8 of 1 or 3 channels (`channels` where given) and SMALLEST pixels.

    Raises:
        InputError: what is wrong.
    """
    shape, wanted = tuple(pictures.shape), (channels,) if channels else (1, 3)
    if pictures.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in wanted or min(shape[2:]) < SMALLEST:
        raise InputError(
            f"pictures {shape} {str(pictures.dtype).removeprefix('torch.')}: a judge reads (n, "
            f"{' or '.join(map(str, wanted))}, H, W) uint8 of {SMALLEST} x {SMALLEST} pixels and more"
        )


def train_picture_judge(
    pictures: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    num_steps: int | None = None,
    width: int = 32,
    device: str = "auto",
    progress: Progress | None = None,
) -> PictureJudge:
    """A judge trained on real pictures, each seen a little otherwise every time; on the CPU when it is done.

    Grey pictures are turned, scaled and moved, as drawn or scanned ones may be (`Affine`); colour ones mirrored and
    cropped (`FlipCrop`). pictures: (n, C, H, W) uint8. labels: (n,) places in class_names. num_steps: None takes as
    many as give each picture NUM_PASSES views. progress("judge", step, num_steps).

    Raises:
        InputError: fewer than two pictures, or pictures that no judge can read.
    """
    check_pictures(pictures)
    if len(pictures) < 2:
        raise InputError(
            f"{len(pictures)} pictures to train a judge on; keep some for it with --set data.num_judge=400"
        )
    channels, size = pictures.shape[1], min(pictures.shape[2:])
    steps = num_steps or min(max(NUM_PASSES * len(pictures) // BATCH_SIZE, FEWEST_STEPS), MOST_STEPS)
    where = find_device(device)
    augmentation = Affine() if channels == 1 else FlipCrop(padding=size // 8)
    generator = seeding.generator(seed, "judge")
    with torch.random.fork_rng(devices=[]):  # the same weights every time
        torch.manual_seed(seeding.derive(seed, "judge weights"))
        judge = PictureJudge(tuple(class_names), channels, size, width)
    judge = judge.to(where, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(judge.parameters(), 4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.25)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (BATCH_SIZE,), generator=generator)
        views = augmentation(pictures[chosen], generator).to(where)
        with autocast(where, "auto"):
            logits = judge(views)
        loss = F.cross_entropy(logits.float(), labels[chosen].to(where), label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress and (step + 1) % 20 == 0:
            progress("judge", step + 1, steps)
    judge = judge.cpu().to(memory_format=torch.contiguous_format).eval()  # as it is read from a file, to the bit
    seen = judge.features(pictures)  # not standardised yet
    judge.feature_mean.copy_(seen.mean(dim=0))
    # A feature that hardly varies says nothing, and must not be blown up to say as much as the others.
    spread = seen.std(dim=0)
    judge.feature_scale.copy_(spread.clamp(min=0.1 * spread.mean() + 1e-6))
    return judge


def load_or_train_picture_judge(
    judge_samples: PictureSamples,
    test_samples: PictureSamples,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    num_steps: int | None = None,
    progress: Progress | None = None,
) -> PictureJudgeTraining:
    """The judge for these pictures: from the cache, where one was trained on the same with the same settings.

    It learns from `judge_samples`, which no generator is trained on; its accuracy is measured on `test_samples`.

    Raises:
        InputError: nothing to train on, or pictures that no judge can read.
    """
    settings = {"seed": seed, "num_steps": num_steps, "class_names": list(class_names)}
    folder = hub.cache_folder() / "picture-judges" / _digest(settings, judge_samples, test_samples)
    with contextlib.suppress(OSError, ValueError, TypeError):  # absent, or damaged: trained again
        found = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        return PictureJudgeTraining(PictureJudge.from_pretrained(folder).eval(), **found)
    start = time.perf_counter()
    judge = train_picture_judge(
        judge_samples.pictures[:], judge_samples.labels, class_names, seed=seed, num_steps=num_steps, progress=progress
    )
    result: dict[str, Any] = {
        "accuracy": measure(judge, test_samples),
        "num_test": len(test_samples.labels),
        "seconds": time.perf_counter() - start,
    }
    write_judge(judge, result, folder)
    return PictureJudgeTraining(judge, **result)


def measure(judge: PictureJudge, samples: PictureSamples) -> float:
    """Its accuracy on real pictures; NaN where there are none."""
    if not len(samples.labels):
        return math.nan
    return (judge.judge(samples.pictures) == samples.labels).double().mean().item()


def _digest(settings: dict[str, Any], *sets: PictureSamples) -> str:
    name = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8)
    for samples in sets:
        name.update(repr(tuple(samples.pictures.shape)).encode() + samples.labels.numpy().tobytes())
        for first in range(0, len(samples.labels), CHUNK):
            name.update(samples.pictures[first : first + CHUNK].contiguous().numpy().tobytes())
    # What the weights mean and how they are found is written in this file: another file makes other judges.
    name.update(Path(__file__).read_bytes())
    return name.hexdigest()
