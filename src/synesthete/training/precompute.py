"""What frozen parts make of the training samples, computed once instead of in every step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.rows import compute_rows
from synesthete.data.samples import Samples
from synesthete.io import digest
from synesthete.objectives.denoising import without_chance
from synesthete.pipeline import Pipeline
from synesthete.types import Batch, Condition

if TYPE_CHECKING:
    from synesthete.data.labelled import ImageSpeechSamples
    from synesthete.data.rows import Rows
    from synesthete.objectives import Parts


@dataclass
class NoisePairs(Samples):
    """Pairs of noise and x_0. conditions, labels: (n, ...), of each. pairs: (n, 2, C, H, W), noise first."""

    conditions: Condition
    labels: Tensor
    pairs: Rows

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """x_0 with its noise, and what was told as a condition; nothing is drawn."""
        noise, x_0 = self.pairs[indices].float().unbind(dim=1)
        told = self.conditions[indices].to(torch.float32)
        return Batch(signal=x_0, raw=told, label=self.labels[indices], encoded=True, noise=noise)


BATCH = 16  # samples that go through a codec at once
SHARD, FEATURE_SHARD = 512, 250  # samples a file, pictures a piece
PAIRS, PAIR_SHARD = 64, 256  # pairs that are made at once, and in a file
NUM_MEASURED = 1024  # training samples, drawn from all, that the latents are measured on
NUM_VIEWS = 4  # of a picture that is augmented: itself, and three more


@torch.no_grad()
def measure_latents(codec: Any, samples: Samples, device: torch.device) -> None:
    """Measure the latents of a codec on what it has learned from: x_0 gets about zero mean and unit spread."""
    codec.eval()
    samples = samples.signals().plain()
    drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:NUM_MEASURED].sort().values
    batches = (samples.batch(places, torch.Generator().manual_seed(0)) for places in drawn.split(BATCH))
    codec.whiten(batch.signal.to(device) for batch in batches)


@torch.no_grad()
def precompute_latents(
    codec: Any,
    samples: Any,
    folder: Path,
    num_views: int,
    device: torch.device,
    report: Callable[[int, int], None] = lambda done, total: None,
    around: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Any:
    """The samples with x_0 of the trained codec (n, V, c, h, w), in half precision, in files named by its weights.

    A batch takes one of V views by chance: the sample as it is, and augmented where there is an augmentation.
    report(done, total) in samples. around: the writing, where several processes share the files.
    """
    codec.eval()
    samples = samples.signals()
    num_views = num_views if samples.augmentation else 1
    name = digest(codec, len(samples), num_views)

    def encode(places: Tensor) -> Tensor:
        parts = places.split(BATCH)
        return torch.cat([samples.encode(codec, part, num_views, at_once=BATCH, device=device) for part in parts])

    def file(number: int, _: Any) -> Path:
        return folder / f"{name}-{number:05d}.safetensors"

    return replace(samples, x_0=compute_rows(len(samples), SHARD, file, encode, report, around=around))


@torch.no_grad()
def precompute_features(
    conditioner: Any,
    samples: ImageSpeechSamples,
    num_views: int,
    seed: int,
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> ImageSpeechSamples:
    """The samples with features in place of their pictures, in half precision.

    They are extracted num_views times of each picture, the first time as it is, then as the augmentation changes it; a
    batch takes one of these views by chance. autocast: the precision to do so in. report(done, total) in pictures.
    """
    conditioner.eval()
    device = next(conditioner.parameters()).device
    shards = []
    for places in torch.arange(len(samples)).split(FEATURE_SHARD):
        pictures = samples.pictures[places]
        views = [pictures]
        for view in range(1, num_views):
            generator = seeding.generator(seed, "view", view, int(places[0]))
            views.append(samples.augmentation(pictures, generator) if samples.augmentation else pictures)
        with autocast():
            seen = [conditioner.extract_features(view.to(device)) for view in views]
        shards.append(torch.stack(seen, dim=1).half().cpu())  # (FEATURE_SHARD, num_views, ...)
        report(int(places[-1]) + 1, len(samples))
    return replace(samples, pictures=torch.cat(shards), augmentation=choose_view)


class ReadyConditions:
    """A conditioner for a model that samples of conditions: they are what is told."""

    def __init__(self, conditioner: Any) -> None:
        self.conditioner, self.reads = conditioner, conditioner.reads

    def complete(self, told: Condition, generators: Any) -> Condition:
        """As it is: nothing is left to chance."""
        return told

    def branches(self, told: Condition, negative: None = None) -> tuple[Condition, Condition, Condition]:
        """As every conditioner."""
        return self.conditioner.untold(told, len(told) if self.reads != "nothing" else 0), told, told


@torch.no_grad()
def precompute_pairs(
    parts: Parts,
    sampling: Mapping[str, Any],
    samples: Samples,
    num: int,
    seed: int,
    folder: Path,
    device: torch.device,
    report: Callable[[int, int], None] = lambda done, total: None,
    around: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> NoisePairs:
    """`num` pairs of noise and the x_0 that a model makes of it, told of a training sample as much as training tells.

    sampling: its settings; what is left to chance in them is not. The pairs are kept in half precision, in files named
    by its weights and settings, what is told in memory. report(done, total) in pairs. around: the writing, where
    several processes share the files.
    """
    modules: dict[str, Any] = {name: module.eval() for name, module in parts.modules().items()}
    teacher = Pipeline(**modules, process=parts.process.settings(), sampling=sampling).to(device)
    conditioner, settings = parts.conditioner, without_chance(teacher.sampling_settings())
    teacher.conditioner = ReadyConditions(conditioner)
    samples, rounds = samples.plain(), range(-(-num // len(samples)))
    orders = [torch.randperm(len(samples), generator=seeding.generator(seed, "pairs", number)) for number in rounds]
    conditions, labels = [], []
    for i, place in enumerate(torch.cat(orders)[:num].split(1)):
        generator = seeding.generator(seed, "told", i)  # each by draws of its own, in whatever company it is
        batch = samples.batch(place, generator).to(device)
        raw = conditioner.complete(batch.raw, [generator])
        conditions.append(conditioner.encode(raw, generator).to("cpu", torch.float16))
        labels.append(batch.label.cpu())
    told = Condition.concatenate(conditions)
    name = digest(conditioner, parts.denoiser, [settings, num, seed, len(samples)])

    def make(places: Tensor) -> Tensor:
        made = []
        for part in places.split(PAIRS):
            generators = [seeding.generator(seed, "noise", i) for i in part.tolist()]
            noise = seeding.randn(teacher.codec.shape, generators)
            here = told[part].to(torch.float32)
            *_, x_0 = teacher.trajectory(here, generators=generators, noise=noise, **settings)
            made.append(torch.stack([noise, x_0.cpu()], dim=1).half())
        return torch.cat(made)

    def file(number: int, _: Any) -> Path:
        return folder / f"{name}-{number:05d}.safetensors"

    rows = compute_rows(num, PAIR_SHARD, file, make, report, around=around)
    return NoisePairs(told, torch.cat(labels), rows)


def choose_view(views: Tensor, generator: torch.Generator) -> Tensor:
    """(B, num_views, ...) -> (B, ...), one view of each sample by chance."""
    chosen = torch.randint(views.shape[1], (len(views),), generator=generator)
    return views[torch.arange(len(views)), chosen]
