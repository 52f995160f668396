"""A stage of training on made-up data: the real loop, the real parts, and nothing to prepare."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from PIL import Image

from synesthete import seeding
from synesthete.conditioning.audio_text import SoundAndText
from synesthete.data.audio_image_samples import AudioImageSamples
from synesthete.data.captions import spell
from synesthete.data.image_speech_pairs import ImageSpeechSamples
from synesthete.data.labelled import PictureSamples
from synesthete.data.music import MusicSamples
from synesthete.data.samples import Steps
from synesthete.nn.device import keep_freed_memory
from synesthete.objectives import Parts
from synesthete.training.precompute import precompute_features
from synesthete.training.trainer import StageTrainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from synesthete.config import Recipe, Stage
    from synesthete.types import Batch

SECONDS = 1.0  # of a made-up sound; an encoder cuts or pads it to what it hears
Made: TypeAlias = "PictureSamples | ImageSpeechSamples | MusicSamples | AudioImageSamples"
# Never written to: a dry run saves nothing.
NOWHERE = Path("dry-run")


class DryRun:
    """Optimiser steps of a stage with fresh weights, grey pictures and noise for sound.

    Args:
        samples: grey pictures as the stage sees them, from `make_samples`; at least as many as a micro-batch takes.
    """

    def __init__(self, recipe: Recipe, stage: Stage, samples: Made) -> None:
        keep_freed_memory()
        self.stage, self.samples = replace(stage), samples
        torch.manual_seed(seeding.derive(recipe.seed, "weights"))
        self.parts = Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process())
        prepared: Any = SimpleNamespace(train=samples)
        self.trainer = StageTrainer(recipe, self.stage, self.parts, prepared, NOWHERE, NOWHERE, lambda _: None)
        self.trainer.model.train()

    def step(self, batch_size: int, accumulation: int = 1) -> None:
        """One optimiser step: the batches made, the losses, their gradients, the update and the averages."""
        self.stage.gradient_accumulation_steps = accumulation
        steps = Steps(self.samples, batch_size * accumulation, 0, accumulation=accumulation)
        self.trainer.optimise(enumerate(self._batches(steps)), steps)

    def _batches(self, steps: Steps) -> Iterator[Batch]:
        for item in itertools.count():
            yield steps[item]


def micro_batch(stage: Stage) -> int:
    """Samples that one process pushes through the network at once."""
    return stage.batch_size // stage.gradient_accumulation_steps


def make_samples(recipe: Recipe, stage: Stage, num: int) -> Made:
    """`num` grey pictures, preprocessed, looked at beforehand where a training would, and as many clips of noise.

    Raises:
        InputError: whatever keeps the conditioner from reading a picture, in one line.
    """
    data, labels = recipe.data(), torch.zeros(num, dtype=torch.int64)
    codec = recipe.codec()
    if codec.spec is None:  # the model makes pictures
        grey = codec.preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
        pictures = grey.expand(num, *grey.shape[1:]).contiguous()
        if hasattr(data, "pairs"):
            return heard_pictures(recipe, pictures, labels)
        return PictureSamples(pictures, labels, data.augmentation)
    x_0 = torch.randn(num, *codec.shape).half()
    reads: Any = "sound" if recipe.conditioner.target.reads == "sound" else "label"
    if "codec" in stage.train or reads == "sound":  # it learns from the sounds themselves
        noise = torch.randint(-3000, 3000, (num, codec.config.num_samples), dtype=torch.int16)
        views = None if "codec" in stage.train else x_0.unsqueeze(1)
        rate = codec.spec.sample_rate
        return MusicSamples(noise, labels, labels, ("noise",), views, reads, sample_rate=rate)
    with torch.device("meta"):
        conditioner: Any = recipe.conditioner()
    if conditioner.reads != "image":
        return ImageSpeechSamples(x_0, labels, labels, labels)
    picture = conditioner.preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
    pictures = picture.expand(num, *picture.shape[1:]).contiguous()
    samples = ImageSpeechSamples(x_0, labels, pictures, labels, data.augmentation)
    never_changes = conditioner.has_fixed_features and data.augmentation is None
    if not stage.num_views and not never_changes:
        return samples
    conditioner = recipe.conditioner()
    conditioner.freeze(stage.num_views > 0)
    num_views = max(stage.num_views, 1)
    return precompute_features(
        conditioner, samples, num_views, 0, autocast=contextlib.nullcontext, report=lambda done, total: None
    )


def heard_pictures(recipe: Recipe, pictures: Tensor, labels: Tensor) -> AudioImageSamples:
    """Pictures with noise for sound, or for what a frozen encoder made of one, and a caption of each template."""
    data, codec, num = recipe.data(), recipe.codec(), len(labels)
    with torch.device("meta"):
        conditioner = recipe.conditioner()
    length = round((data.seconds or SECONDS) * conditioner.sample_rate)
    once = conditioner.has_fixed_features
    templates = () if isinstance(data.captions, str) else tuple(data.captions)
    read = [spell([template], data.class_names or ("thing",))[0] for template in templates] or [""]
    return AudioImageSamples(
        pictures,
        labels,
        torch.randint(-3000, 3000, (num, length), dtype=torch.int16),
        labels,
        SoundAndText,
        x_0=torch.randn(num, 1, *codec.shape).half() if codec.caches_latents else None,
        captions=torch.arange(len(read)).expand(num, -1),
        texts=conditioner.compose(prompts=read).text,
        texts_read=tuple(read),
        heard=torch.randn(num, conditioner.embedding_width) if once else None,
        augmentation=data.augmentation,
        sample_rate=conditioner.sample_rate,
        templates=templates,
    )
