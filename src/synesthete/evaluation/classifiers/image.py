"""A classifier of pictures: which class one shows, learned from pictures that no generator has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from synesthete.data.augmentation import Affine, FlipCrop
from synesthete.evaluation.classifiers import classifier as base
from synesthete.evaluation.classifiers.classifier import TrainingSettings
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.labelled import PictureSamples
    from synesthete.data.rows import Rows

SMALLEST = 8
INNER = 32  # side in pixels that larger pictures are brought down to by the first convolution's stride


class Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(base.convolution(width, width), base.convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same."""
        return x + self.layers(x)


class ImageClassifier(base.Classifier):
    """Pictures (B, channels, H, W) uint8 of SMALLEST pixels or more -> logits (B, num_classes).

    Its features are the mean over the picture of what the last layer reads. class_names: in the order of the logits.
    channels: 1 or 3. size: side in pixels of the pictures it is for. width: a quarter of the features.
    """

    training_settings = TrainingSettings(64, 4e-3, 0.05, 0.1, 0.25, num_passes=32, fewest_steps=500, most_steps=3000)
    chunk_size = 256

    def __init__(self, class_names: tuple[str, ...] = (), channels: int = 3, size: int = 32, width: int = 32) -> None:
        super().__init__()
        stride = max(1, size // INNER)
        self.layers = nn.Sequential(
            base.convolution(channels, width, stride + 2, stride),
            base.convolution(width, 2 * width, stride=2),
            base.convolution(2 * width, 4 * width, stride=2),
            Residual(4 * width),
        )
        self.end_in(4 * width, len(class_names))

    def inputs(self, samples: Tensor | Rows) -> Iterator[Tensor]:
        """Pictures (n, C, H, W) uint8 of its own channels, a chunk at a time."""
        check_pictures(samples, self.config.channels)
        return (samples[first : first + self.chunk_size] for first in range(0, len(samples), self.chunk_size))

    def pooled(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> what the last layer reads, (B, 4 * width)."""
        x = inputs.float() / 127.5 - 1
        x = self.layers(x.contiguous(memory_format=torch.channels_last))  # (B, 4 * width, h, w)
        return x.mean(dim=(2, 3))

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Grey pictures turned, scaled and moved, as drawn or scanned ones may be; colour ones mirrored and cropped."""
        change = Affine() if self.config.channels == 1 else FlipCrop(padding=self.config.size // 8)
        return change(inputs, generator)


def check_pictures(pictures: Tensor | Rows, channels: int | None = None) -> None:
    """Refuse what is no (n, C, H, W) uint8 of 1 or 3 channels (`channels` where given) and SMALLEST pixels."""
    shape, wanted = tuple(pictures.shape), (channels,) if channels else (1, 3)
    if pictures.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in wanted or min(shape[2:]) < SMALLEST:
        raise InputError(
            f"pictures {shape} {str(pictures.dtype).removeprefix('torch.')}: a classifier reads (n, "
            f"{' or '.join(map(str, wanted))}, H, W) uint8 of {SMALLEST} x {SMALLEST} pixels and more"
        )


def load_or_train_image_classifier(
    samples: PictureSamples, test: PictureSamples, class_names: Sequence[str], **options: Unpack[base.TrainingOptions]
) -> base.TrainedClassifier[ImageClassifier]:
    """The classifier for these pictures, as `load_or_train`; its accuracy is measured on `test`."""
    pictures = samples.pictures
    check_pictures(pictures)
    build = partial(ImageClassifier, tuple(class_names), pictures.shape[1], min(pictures.shape[2:]))
    return base.load_or_train(build, pictures, samples.labels, test.pictures, test.labels, **options)
