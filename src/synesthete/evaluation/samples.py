"""What a model is evaluated on: samples that it made on fixed noise, in one timed loop, beside real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.executors import divide
from synesthete.types import InputError

__all__ = ["Generated", "References", "draw_places", "generate_timed"]

BATCH_SIZE = 32
FEWEST = 4  # with three, no sample has a third nearest other one


def first_of_each(labels: Tensor) -> Tensor:
    """The place of the first sample of each class that has one."""
    return torch.stack([(labels == label).nonzero().flatten()[0] for label in labels.unique()])


def drawn(num_there: int, num: int, seed: int, what: str) -> Tensor:
    """At most `num` of `num_there` places, in an order drawn once and for all."""
    return torch.randperm(num_there, generator=seeding.generator(seed, what))[:num]


def shuffled(num: int, seed: int) -> Tensor:
    """For each of `num` samples another one: a random permutation that leaves none in its place."""
    order = torch.randperm(num, generator=seeding.generator(seed, "shuffled"))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


@dataclass(frozen=True)
class Generated:
    """Samples as the pipeline gave them, (n, ...) on the CPU, and the classes (n,) that were asked for.

    batch_seconds: of sampling and decoding. x_0: (n, C, H, W) float32 that the samples were decoded from, if it was
    kept. counts: what was mended, and how often, for report.json.
    """

    signal: Tensor
    labels: Tensor
    batch_seconds: tuple[float, ...]
    x_0: Any = None
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def seconds(self) -> float:
        """What one sample took on average."""
        return sum(self.batch_seconds) / len(self)


@dataclass(frozen=True)
class References:
    """Two sets of real samples (m, ...) without one in common, with their labels (m,).

    held_out, places: never seen in training, and where in the test split. others: what these are compared with, of
    which num_training were seen. worst: as many that are as bad as chance. training: all, to look for copies; None: do
    not.
    """

    held_out: Tensor
    labels: Tensor
    others: Tensor
    other_labels: Tensor
    worst: Tensor
    places: Tensor | None = None
    training: Any = None
    num_training: int = 0


@torch.no_grad()
def generate_timed(
    pipeline: Any,
    raw: Any,
    *,
    seed: int = 0,
    generators: Sequence[torch.Generator] | None = None,
    labels: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
    keep_x_0: bool = False,
    warmed: set[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **sampling: Any,
) -> Generated:
    """A sample of each raw condition (n, ...); sample i draws the same noise whatever it and the others are told.

    generators: one a sample; by `seed` and place where None. labels: the classes asked for; the conditions themselves
    where None. warmed: sizes of batches that ran before: of others one step comes first, untimed, since the first
    forward of a size chooses kernels. None: of no size. sampling: settings that differ from the model's own. The
    executor that was chosen divides the batches.
    """
    num, done = len(raw), 0
    generators = generators or seeding.sample_generators(seed, num)
    jobs = {first: slice(first, min(first + batch_size, num)) for first in range(0, num, batch_size)}
    make, made = partial(make_batch, pipeline, raw, generators, warmed, keep_x_0, sampling), dict[int, Any]()
    for first, batch in divide(make, jobs, "network"):
        made[first] = batch
        done += len(batch[0])
        if progress:
            progress(done, num)
    signals, x_0, seconds = zip(*(made[first] for first in jobs), strict=True)
    asked = raw if labels is None else labels
    return Generated(torch.cat(signals), asked, seconds, torch.cat(x_0) if keep_x_0 else None)


@torch.no_grad()
def make_batch(
    pipeline: Any,
    raw: Any,
    generators: Sequence[torch.Generator],
    warmed: set[int] | None,
    keep_x_0: bool,
    sampling: Mapping[str, Any],
    here: slice,
) -> tuple[Tensor, Tensor | None, float]:
    """Samples of raw[here] on the CPU, their x_0 where it is kept, and the seconds that they took."""
    size = here.stop - here.start
    if warmed is not None and size not in warmed:
        warmed.add(size)
        next(pipeline.trajectory(raw[here]))
    noise = [generator.clone_state() for generator in generators[here]]  # a batch may be made twice
    start = time.perf_counter()
    output = pipeline(raw[here], generators=noise, **sampling)
    signal = output.signal.float() if output.signal.is_floating_point() else output.signal
    signal = signal.cpu()  # the copy waits for a device that computes on its own
    seconds = time.perf_counter() - start
    return signal, output.x_0.float().cpu() if keep_x_0 else None, seconds


@torch.no_grad()
def encode_signals(codec: Any, signals: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """x_0 (n, C, H, W) float32 of signals (n, ...), on the CPU, wherever the codec is."""
    where = codec.device
    return torch.cat([codec.encode(part.to(where)).float().cpu() for part in signals.split(batch_size)])


@torch.no_grad()
def decode(codec: Any, x_0: Tensor, seed: int, batch_size: int = BATCH_SIZE) -> Tensor:
    """Signals (n, ...) of x_0 (n, C, H, W), on the CPU; sample i always draws the same."""
    parts = [
        codec.decode(part.to(codec.device), seeding.sample_generators(seed, len(part), i * batch_size)).cpu()
        for i, part in enumerate(x_0.split(batch_size))
    ]
    return torch.cat(parts)


def draw_places(
    num_test: int, num_train: int, num: int, seed: int, what: str, *, from_training: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Places of at most `num` held-out samples, and of as many others: held-out ones (k,) and training ones (l,).

    All are drawn at random: with as many of each class there are fewer pairs of one class within a set than across two,
    and the kernel distance of equal distributions comes out below 0. from_training: whether the others are all training
    samples; held-out ones first otherwise. what: the samples are, in the plural.

    Raises:
        InputError: fewer than FEWEST held-out samples, or of others.
    """
    order = drawn(num_test, num_test, seed, "held out")
    chosen, rest = order[:num], order[num : 2 * num]
    if from_training:
        rest = rest[:0]
    training = drawn(num_train, len(chosen) - len(rest), seed, "training")
    if num_test < FEWEST:
        raise InputError(f"{num_test} held-out {what} to compare with; give the test split {FEWEST} or more")
    if len(rest) + len(training) < FEWEST:
        raise InputError(f"{len(training)} training {what} to compare held-out ones with; give {FEWEST} or more")
    return chosen, rest, training


def draw_with_replacement(num_there: int, num: int, seed: int, what: str) -> Tensor:
    """Places (num,) drawn anew each time: of one class come more, of another fewer, as chance has it."""
    return torch.randint(num_there, (num,), generator=seeding.generator(seed, what))
