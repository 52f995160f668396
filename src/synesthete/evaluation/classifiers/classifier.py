"""What every classifier shares: its interface, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.nn.device import autocast, find_device
from synesthete.nn.part import Part
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from synesthete.data.rows import Pieces, Rows
    from synesthete.nn.device import Precision
    from synesthete.types import Progress

    Samples = Tensor | Rows | Pieces


@dataclass(frozen=True)
class TrainingSettings:
    """How a kind of classifier is trained: AdamW under a one-cycle schedule, of which `warmup` is the rise.

    A sample is seen `num_passes` times, in `fewest_steps` at least and `most_steps` at most.
    """

    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    warmup: float
    num_passes: int
    fewest_steps: int
    most_steps: int
    precision: Precision = "auto"

    def num_steps(self, num_samples: int) -> int:
        """Of so many samples."""
        return min(max(self.num_passes * num_samples // self.batch_size, self.fewest_steps), self.most_steps)

    def few(self, num_steps: int) -> int | None:
        """`num_steps` of a model that trains for so few that its classifier shall too; else None, which is its own."""
        return num_steps if num_steps < self.fewest_steps else None


class Classifier(Part):
    """Samples -> the class of each, how probable each class is, and features.

    Batch norm uses what it learned in training, so a sample is classified alike whatever it comes with. A kind defines
    `layers` and `head`, what it reads (`inputs`), what the head reads (`pooled`), and views of a sample (`augmented`).

    training_settings: how it is trained. chunk_size: samples at once. memory_format: of the weights in training.
    standardised: whether its features are 0 +- 1 over what it learned from: x'x / D is about 1 there, which is the
    scale that the kernel of `distribution.kernel` is made for.
    """

    training_settings: ClassVar[TrainingSettings]
    chunk_size: ClassVar[int]
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    standardised: ClassVar[bool] = True
    layers: nn.Module
    head: nn.Module
    feature_mean: Tensor
    feature_scale: Tensor

    def inputs(self, samples: Any) -> Iterator[Tensor]:
        """Samples as `pooled` reads them, a chunk at a time.

        Raises:
            InputError: samples that it cannot read.
        """
        raise NotImplementedError

    def training_inputs(self, samples: Any) -> Tensor:
        """All that it learns from at once, (n, ...)."""
        return torch.cat(list(self.inputs(samples)))

    def pooled(self, inputs: Tensor) -> Tensor:
        """What the head reads, (B, D)."""
        raise NotImplementedError

    def augmented(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs, each changed by its own draw in a way that leaves its class as it is."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs -> logits (B, num_classes)."""
        return self.head(self.pooled(inputs))

    @property
    def knows_classes(self) -> bool:
        """Whether its answers are classes; otherwise only its features say something."""
        return True

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(self.config.class_names)

    def classify(self, samples: Samples) -> Tensor:
        """The most probable class of each of n samples, (n,) int64."""
        return self.probabilities(samples).argmax(dim=1)

    @torch.no_grad()
    def probabilities(self, samples: Samples) -> Tensor:
        """Of each class, (n, num_classes) on the CPU; a row sums to one."""
        self.eval()
        rows = [self(part.to(self.device)).float().softmax(dim=1).cpu() for part in self.inputs(samples)]
        return torch.cat(rows) if rows else torch.zeros(0, len(self.class_names) or 1)

    @torch.no_grad()
    def features(self, samples: Samples) -> Tensor:
        """What each sample is like to it, (n, D) float32 on the CPU."""
        self.eval()
        rows = [self._standardised(self.pooled(part.to(self.device))).float().cpu() for part in self.inputs(samples)]
        return torch.cat(rows) if rows else torch.zeros(0, len(self.feature_mean))

    def _standardised(self, pooled: Tensor) -> Tensor:
        return (pooled - self.feature_mean) / self.feature_scale if self.standardised else pooled

    @torch.no_grad()
    def standardise(self, inputs: Tensor) -> None:
        """Make its features 0 +- 1 over these inputs (n, ...)."""
        self.eval()
        seen = torch.cat([self.pooled(part).float() for part in inputs.split(self.chunk_size)])
        self.feature_mean.copy_(seen.mean(dim=0))
        # A feature that hardly varies says nothing, and must not be blown up to say as much as the others.
        spread = seen.std(dim=0)
        self.feature_scale.copy_(spread.clamp(min=0.1 * spread.mean() + 1e-6))


C = TypeVar("C", bound=Classifier)


def train(
    build: Callable[[], C],
    samples: Samples,
    labels: Tensor,
    *,
    seed: int = 0,
    num_steps: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> C:
    """A classifier trained on real samples, each augmented anew every time; on the CPU when it is done.

    build: makes one that has learned nothing. labels: (n,) places in its class_names. num_steps: None is the kind's own
    for so many samples. progress("classifier", step, num_steps).

    Raises:
        InputError: fewer than two samples, or samples that it cannot read.
    """
    if len(samples) < 2:
        raise InputError(f"{len(samples)} samples to train a classifier on; keep more of the data for it")
    # The names of the draws stay as they were first given: others would train other weights.
    where, generator = find_device(device), seeding.generator(seed, "judge")
    with torch.random.fork_rng(devices=[]):  # weights start, and dropout goes on, from the same numbers every time
        torch.manual_seed(seeding.derive(seed, "judge weights"))
        classifier = build()
        inputs, settings = classifier.training_inputs(samples), classifier.training_settings
        steps = num_steps or settings.num_steps(len(inputs))
        classifier = classifier.to(where, memory_format=classifier.memory_format).train()
        optimiser = torch.optim.AdamW(classifier.parameters(), weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps, pct_start=settings.warmup
        )
        for step in range(steps):
            chosen = torch.randint(len(inputs), (settings.batch_size,), generator=generator)
            views = classifier.augmented(inputs[chosen], generator).to(where)
            with autocast(where, settings.precision):
                logits = classifier(views)
            loss = F.cross_entropy(logits.float(), labels[chosen].to(where), label_smoothing=settings.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress and ((step + 1) % 20 == 0 or step + 1 == steps):
                progress("classifier", step + 1, steps)
    classifier = classifier.cpu().to(memory_format=torch.contiguous_format).eval()  # as read from a file, to the bit
    if classifier.standardised:
        classifier.standardise(inputs)
    return classifier
