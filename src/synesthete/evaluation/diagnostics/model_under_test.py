"""The model under the diagnostics, and the data that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.labelled import in_turn, turns
from synesthete.pipeline import Output, Pipeline
from synesthete.types import Batch, InputError, Prepared

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.tasks import Task

BATCH_SIZE = 64
NUM_CLASSES = 12  # that fit beside each other in a picture


@dataclass
class ModelUnderTest:
    """A model and its data, looked at by every diagnostic in turn; the same seed shows the same noise and pictures.

    num: samples and held-out pictures for figures. num_shown: held-out pictures beside each other. num_seeds: samples
    of a class below each other. num_steps: of the whole way from noise in a reconstruction. reconstruct_from: which
    fraction of the way to noise a single one starts from. settings: sampling settings that differ from the model's own.
    features: of pictures, as `find_features` has them; None without a classifier. task: draws samples; where None the
    codec does. progress(done, total) counts samples as they are made.
    """

    pipeline: Pipeline
    prepared: Prepared
    seed: int = 0
    num: int = 64
    num_shown: int = 10
    num_seeds: int = 4
    num_steps: int = 50
    reconstruct_from: float = 0.6
    settings: dict[str, Any] = field(default_factory=dict)
    features: Any = None
    task: Task | None = None
    progress: Callable[[int, int], None] | None = None
    _samples: Output | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.reconstruct_from < 1:
            of = f"reconstruction from {self.reconstruct_from:g} of the way"
            raise InputError(f"{of}: give a number between 0 and 1, such as 0.6")

    def check(self, diagnostic: str, need: Literal["condition", "pictures"]) -> None:
        """Make sure that the model is told something, or makes pictures."""
        told = need == "condition"
        if not (self.pipeline.is_conditional if told else self.pipeline.codec.makes_pictures):
            why = "this model is told nothing" if told else "only of models that make pictures"
            raise InputError(f"{diagnostic}: {why}; leave this diagnostic out")

    @property
    def reads_classes(self) -> bool:
        """Whether the conditioner is told the class' number, rather than shown a picture or a sound."""
        return self.pipeline.conditioner.reads in ("label", "nothing")

    def classes(self) -> Tensor:
        """Numbers (k,) of the classes to show that have samples where a model is told those, NUM_CLASSES at most."""
        num = len(self.prepared.class_names)
        if not self.pipeline.is_conditional or not num:
            return torch.zeros(1, dtype=torch.int64)
        found = torch.arange(num) if self.reads_classes else self.prepared.test.labels.unique()
        return found[torch.linspace(0, len(found) - 1, min(len(found), NUM_CLASSES)).round().long()]

    def names(self, labels: Tensor) -> list[str]:
        """What to write beside samples of these classes (n,)."""
        class_names = self.prepared.class_names
        return [class_names[label] if class_names else "" for label in labels.tolist()]

    def generators(self, num: int) -> list[torch.Generator]:
        """Fresh generators of noise, one a sample, always the same."""
        return seeding.sample_generators(self.seed, num)

    def noise(self, num: int) -> Tensor:
        """Unit Gaussian noise (num, C, H, W), row i that of `generators`."""
        return seeding.randn(self.pipeline.codec.shape, self.generators(num))

    def labels(self) -> Tensor:
        """The classes that `samples` shows, equally many of each, one after the other: (n,), `num` or a few less."""
        classes = self.classes()
        return classes.repeat_interleave(max(1, self.num // len(classes)))

    def raw(self, labels: Tensor) -> Tensor:
        """What the conditioner is told or shown for these classes (n,): the classes, or held-out samples of them."""
        if self.reads_classes:
            return labels
        samples = self.prepared.test
        places = [int((samples.labels == label).nonzero()[0]) for label in labels.tolist()]
        return samples.batch(torch.tensor(places), seeding.generator(self.seed, "raw")).raw

    def draw(self, labels: Tensor, *, generators: Sequence[torch.Generator] | None = None, **settings: Any) -> Tensor:
        """x_0 (n, C, H, W) of one sample a label (n,), on the CPU. settings: in place of this object's."""
        generators = list(generators or self.generators(len(labels)))
        made = []
        for first in range(0, len(labels), BATCH_SIZE):
            here = slice(first, min(first + BATCH_SIZE, len(labels)))
            raw = self.raw(labels[here])
            *_, x_0 = self.pipeline.trajectory(raw, generators=generators[here], **{**self.settings, **settings})
            made.append(x_0.cpu())
            if self.progress:
                self.progress(here.stop, len(labels))
        return torch.cat(made)

    def samples(self) -> Output:
        """A sample of each of `labels()`, on the CPU; made once and kept."""
        if self._samples is None:
            generators, signal = self.generators(len(self.labels())), []
            x_0 = self.draw(self.labels(), generators=generators)
            for i, part in enumerate(x_0.split(BATCH_SIZE)):
                own = generators[i * BATCH_SIZE :][: len(part)]
                signal.append(self.pipeline.codec.decode(part.to(self.pipeline.device), own).cpu())
            self._samples = Output(torch.cat(signal), x_0)
        return self._samples

    def training(self, num: int) -> Batch:
        """Samples that the model was trained on, as they are, not augmented; the classes take turns."""
        samples = self.prepared.train.plain()
        return samples.batch(in_turn(samples.labels, self.seed)[:num], seeding.generator(self.seed, "training"))

    def held_out(self, num: int | None = None) -> Batch:
        """Real held-out samples, `num` of them or as many as there are: one of each class in order, then another."""
        samples = self.prepared.test
        own = samples.labels
        order = in_turn(own, self.seed)
        turn = torch.zeros_like(own)
        turn[order] = turns(own[order])
        places = (turn * (int(own.max()) + 1) + own).argsort(stable=True)[: num or self.num]
        return samples.batch(places, seeding.generator(self.seed, "held out"))

    @torch.no_grad()
    def x_0(self, batch: Batch) -> Tensor:
        """x_0 of a batch (n, C, H, W), float32, where the network computes."""
        signal = batch.signal.to(self.pipeline.device)
        return signal.float() if batch.encoded else self.pipeline.codec.encode(signal)

    def pictures(self, batch: Batch) -> Tensor:
        """The pictures of a batch (n, C, H, W) uint8 on the CPU, through the codec where only x_0 was kept."""
        return (self.pipeline.codec.decode(self.x_0(batch)) if batch.encoded else batch.signal).cpu()

    def real_pictures(self, num: int) -> Tensor:
        """Of `num` held-out pictures (n, C, H, W) uint8 those that are of the classes that samples are made of."""
        batch = self.held_out(num)
        pictures = self.pictures(batch)
        return pictures[torch.isin(batch.label, self.classes())] if self.pipeline.is_conditional else pictures

    def images(self, x_0: Tensor) -> list[Image.Image]:
        """Each x_0 (n, C, H, W) as a picture; of sound, its spectrogram. Values that are not finite become 0."""
        x_0 = torch.nan_to_num(x_0.float(), posinf=0.0, neginf=0.0).to(self.pipeline.device)
        return self.task.thumbnails(self.pipeline, x_0) if self.task else self.pipeline.codec.pictures(x_0, scale=1)
