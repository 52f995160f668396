"""The real pictures that a model's pictures are compared with, and what a guess at every pixel would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.subsampling import drawn
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_samples import AudioImageSamples
    from synesthete.data.labelled import PictureSamples
    from synesthete.types import Prepared

BATCH_SIZE = 100
FEWEST = 4  # with three, no picture has a third nearest other one


@dataclass(frozen=True)
class RealPictures:
    """Two sets of real pictures without a picture in common, uint8 (m, C, H, W), with their labels (m,).

    held_out: never seen in training; places: theirs in the test split. others: what the first set is compared with to
    find what real pictures score; held-out ones, and where these run out training pictures, of which there are
    `num_training`.
    """

    held_out: Tensor
    labels: Tensor
    places: Tensor
    others: Tensor
    other_labels: Tensor
    num_training: int


def draw_real(prepared: Prepared, num: int, seed: int) -> RealPictures:
    """At most `num` held-out pictures, and as many others to compare them with, all drawn at random.

    As many of each class would be too alike: KID, which leaves every picture's pair with itself out, then has fewer
    pairs of one class within a set than across two, and comes out below 0 for equal distributions.

    Raises:
        InputError: fewer than FEWEST held-out pictures, or too few others.
    """
    there = len(prepared.test)
    if there < FEWEST:
        raise InputError(f"{there} held-out pictures to compare with; give the test split {FEWEST} or more")
    order = drawn(there, there, seed, "held out")
    chosen, rest = order[:num], order[num : 2 * num]
    training = drawn(len(prepared.train), len(chosen) - len(rest), seed, "training")
    if len(rest) + len(training) < FEWEST:
        raise InputError(f"{len(training)} training pictures to compare held-out ones with; give it more")
    return RealPictures(
        held_out=prepared.test.pictures[chosen],
        labels=prepared.test.labels[chosen],
        places=chosen,
        others=torch.cat([prepared.test.pictures[rest], prepared.train.pictures[training]]),
        other_labels=torch.cat([prepared.test.labels[rest], prepared.train.labels[training]]),
        num_training=len(training),
    )


def draw_labels(prepared: Prepared, num: int, seed: int) -> Tensor:
    """Classes (num,) to ask for, each that of a held-out picture drawn anew: of one class more, of another fewer."""
    generator = seeding.generator(seed, "labels")
    return prepared.test.labels[torch.randint(len(prepared.test), (num,), generator=generator)]


@torch.no_grad()
def encoded(codec: Any, samples: PictureSamples | AudioImageSamples, places: Tensor) -> Tensor:
    """x_0 (n, C, H, W) float32 of the pictures at these places, on the CPU."""
    if samples.x_0 is not None:
        return samples.x_0[places][:, 0].float()  # the first view is the picture as it is
    parts = places.split(BATCH_SIZE)
    return torch.cat([codec.encode(samples.pictures[part].to(codec.device)).cpu() for part in parts])


def dealt(pictures: Tensor, seed: int) -> Tensor:
    """All pixels of these pictures (n, C, H, W), dealt out again at random: the colours are right, and nothing else."""
    pixels = pictures.transpose(0, 1).flatten(1)  # (C, n * H * W)
    order = torch.randperm(pixels.shape[1], generator=seeding.generator(seed, "dealt"))
    num, channels, height, width = pictures.shape
    return pixels[:, order].view(channels, num, height, width).transpose(0, 1).contiguous()
