"""What every classifier shares: its interface, its training, and where it is kept: in the cache, and beside a model."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypedDict, TypeVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.io import digest, locked, read_json, write_file, write_folder
from synesthete.nn.part import Part, Precision, autocast, find_device
from synesthete.types import InputError, Progress, first_line

if TYPE_CHECKING:
    from synesthete.data.rows import Pieces, Rows
    from synesthete.evaluation.metrics.metric import Metric

    Samples: TypeAlias = Tensor | Rows | Pieces

FOLDER = "classifier"
FACTS = "classifier.json"


@dataclass(frozen=True)
class TrainingSettings:
    """How a kind is trained: AdamW under a one-cycle schedule, of which `warmup` is the rise; passes within steps."""

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
        """`num_steps` of a model that trains for so few that its classifier shall too; else None, its own number."""
        return num_steps if num_steps < self.fewest_steps else None

    def fit(
        self, network: nn.Module, loss: Callable[[], Tensor], num_steps: int, progress: Progress | None, what: str
    ) -> None:
        """Make the loss smaller that is drawn anew at every step. progress(what, step, num_steps)."""
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=self.weight_decay)
        how: dict[str, Any] = {"total_steps": num_steps, "pct_start": self.warmup}
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, **how)
        for step in range(1, num_steps + 1):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
            schedule.step()
            if progress and (step % 20 == 0 or step == num_steps):
                progress(what, step, num_steps)


class Classifier(Part):
    """Samples -> the class of each, how probable each class is, and features.

    A kind defines `layers` and `head`, what it reads (`inputs`), what the head reads (`pooled`), and views of a sample
    (`augmented`). chunk_size: samples at once. memory_format: of the weights in training. standardised: whether its
    features are 0 +- 1 over what it learned from, which is the scale that `distribution.kernel` is made for.
    """

    training_settings: ClassVar[TrainingSettings]
    chunk_size: ClassVar[int]
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    standardised: ClassVar[bool] = True
    layers: nn.Module
    head: nn.Module
    feature_mean: Tensor
    feature_scale: Tensor

    def end_in(self, width: int, num_classes: int) -> None:
        """A linear head on `width` features, which are 0 +- 1 until they are standardised."""
        self.head = nn.Linear(width, num_classes or 1)
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_scale", torch.ones(width))

    def inputs(self, samples: Any) -> Iterator[Tensor]:
        """Samples as `pooled` reads them, a chunk at a time; InputError of what it cannot read."""
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

    def probabilities(self, samples: Samples) -> Tensor:
        """Of each class, (n, num_classes) on the CPU; a row sums to one."""
        return self._read(samples, lambda part: self(part).float().softmax(dim=1), len(self.class_names) or 1)

    def features(self, samples: Samples) -> Tensor:
        """What each sample is like to it, (n, D) float32 on the CPU."""

        def standardised(part: Tensor) -> Tensor:
            pooled = self.pooled(part)
            return (pooled - self.feature_mean) / self.feature_scale if self.standardised else pooled

        return self._read(samples, standardised, len(self.feature_mean) if self.standardised else 0)

    @torch.no_grad()
    def _read(self, samples: Samples, read: Callable[[Tensor], Tensor], width: int) -> Tensor:
        self.eval()
        rows = [read(part.to(self.device)).float().cpu() for part in self.inputs(samples)]
        return torch.cat(rows) if rows else torch.zeros(0, width)

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


def convolution(width: int, out_width: int, kernel_size: Any = 3, stride: int = 1, padding: Any = 1) -> nn.Sequential:
    """A convolution, batch norm and ReLU; with the defaults the size stays."""
    convolve = nn.Conv2d(width, out_width, kernel_size, stride, padding, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(out_width), nn.ReLU())


def train_classifier(
    build: Callable[[], C],
    samples: Samples,
    labels: Tensor,
    *,
    seed: int = 0,
    num_steps: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> C:
    """A classifier of `build`, trained on real samples, each augmented anew every time; on the CPU when it is done.

    labels: (n,) places in its class_names. num_steps: None is the kind's own for so many samples.
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

        def loss() -> Tensor:
            chosen = torch.randint(len(inputs), (settings.batch_size,), generator=generator)
            views = classifier.augmented(inputs[chosen], generator).to(where)
            with autocast(where, settings.precision):
                logits = classifier(views)
            return F.cross_entropy(logits.float(), labels[chosen].to(where), label_smoothing=settings.label_smoothing)

        settings.fit(classifier, loss, steps, progress, "classifier")
    classifier = classifier.cpu().to(memory_format=torch.contiguous_format).eval()  # as read from a file, to the bit
    if classifier.standardised:
        classifier.standardise(inputs)
    return classifier


class TrainingOptions(TypedDict, total=False):
    """What `load_or_train` takes beside the samples."""

    seed: int
    num_steps: int | None
    progress: Progress | None


@dataclass(frozen=True)
class TrainedClassifier(Generic[C]):
    """A classifier, and its accuracy on `num_test` real samples that neither it nor the model met; NaN without classes.

    num_voices: of those samples, where they are spoken. words: what is said for each class, one phrase or several.
    seconds: that its training took.
    """

    classifier: C
    accuracy: float
    num_test: int
    num_voices: int = 0
    words: tuple[tuple[str, ...], ...] = ()
    seconds: float = 0.0

    def metric(self, samples: Samples, labels: Tensor, of: str) -> Metric:
        """Its accuracy on real samples, measured now. of: what they are, for the name."""
        # Imported here: to hear what was said takes no table of metrics.
        from synesthete.evaluation.metrics.metric import interval, metric

        share, num = measure(self.classifier, samples, labels), len(labels)
        chance = 1 / len(self.classifier.class_names)
        return metric("saved_classifier_accuracy", share, interval(share, num), chance, what=of, num=num)


def load_or_train(
    build: Callable[[], C],
    samples: Samples,
    labels: Tensor,
    test: Samples,
    test_labels: Tensor,
    *,
    num_voices: int = 0,
    **options: Unpack[TrainingOptions],
) -> TrainedClassifier[C]:
    """The classifier for these samples: from the cache, where one was trained on the same in the same way.

    samples, labels: what it learns from, which no generator is trained on. test, test_labels: real samples that its
    accuracy is measured on. num_voices: of those. options: as `train_classifier`.
    """
    untrained = build()
    name = digest(
        type(untrained).__name__,
        {key: value for key, value in untrained.config.items() if not key.startswith("_")},
        asdict(untrained.training_settings),
        [options.get("seed", 0), options.get("num_steps"), num_voices],
        fingerprint(build, samples),
        *(samples, labels, test, test_labels),
    )

    def train() -> TrainedClassifier[C]:
        classifier = train_classifier(build, samples, labels, **options)
        share = measure(classifier, test, test_labels)
        return TrainedClassifier(classifier, share, 0 if math.isnan(share) else len(test_labels), num_voices)

    return load_cached(name, type(untrained), train)


def load_cached(name: str, kind: type[C], train: Callable[[], TrainedClassifier[C]]) -> TrainedClassifier[C]:
    """The classifier of that name in the cache; one that is not there, or damaged, is trained now, and timed."""
    place = hub.cache_folder() / "classifiers" / name
    with locked(place, wait=True):
        with contextlib.suppress(InputError):  # damaged: trained again
            if found := load_classifier(place, kind):
                return found
        start = time.perf_counter()
        trained = replace(train(), seconds=time.perf_counter() - start)
        write_classifier(trained, place)
    return trained


def measure(classifier: Classifier, samples: Samples, labels: Tensor) -> float:
    """Its accuracy on real samples; NaN where there are none, or it knows no classes."""
    if not len(labels) or not classifier.knows_classes:
        return math.nan
    return (labels == classifier.classify(samples)).double().mean().item()


def fingerprint(build: Callable[[], C], samples: Samples) -> list[list[int]]:
    """What front end, augmentation and layers make of two samples before anything is learned, in hundredths.

    It stands for their code in the name of a cached classifier. Coarse, so that other numbers of threads name the same.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        classifier = build().eval()
        inputs = classifier.training_inputs(samples[:2])
        views = classifier.augmented(inputs, seeding.generator(0, "fingerprint"))
        found = [x.float().flatten() for x in (inputs, views, classifier(views))]
    parts = [F.adaptive_avg_pool1d(x[None], min(len(x), 48))[0] for x in found]
    return [(100 * part / (part.std() + 1e-6)).round().int().tolist() for part in parts]


def save_classifier(
    trained: TrainedClassifier[C], model: Path, test: Samples, test_labels: Tensor
) -> TrainedClassifier[C]:
    """Write it into a model's folder in half precision; what was written, with the accuracy it then has on `test`."""
    half = nn.Module.to(copy.deepcopy(trained.classifier), torch.float16)
    rounded = nn.Module.to(copy.deepcopy(half), torch.float32)
    kept = replace(trained, classifier=rounded, accuracy=measure(rounded, test, test_labels), seconds=0.0)
    write_classifier(replace(kept, classifier=half), model)
    return kept


def write_classifier(trained: TrainedClassifier[C], model: Path) -> None:
    """Write weights, configuration and how good it is into a model's folder, whole, over one that is there."""
    accuracy = None if math.isnan(trained.accuracy) else trained.accuracy
    facts: dict[str, Any] = {"accuracy": accuracy, "num_test": trained.num_test}
    facts |= {key: getattr(trained, key) for key in ("num_voices", "words", "seconds") if getattr(trained, key)}

    def fill(folder: Path) -> None:
        trained.classifier.save_pretrained(folder)
        write_file(folder / FACTS, json.dumps(facts, indent=1) + "\n")

    write_folder(model / FOLDER, fill)


def load_classifier(model: Path, kind: type[C]) -> TrainedClassifier[C] | None:
    """The classifier in a model's folder, or None where there is none."""
    folder = model / FOLDER
    remedy = "remove it and train the model's run again"
    if not (folder / FACTS).is_file():
        return None
    try:
        found = read_json(folder / "config.json")["_class_name"]
        if found == kind.__name__:
            facts = read_json(folder / FACTS)
            classifier = nn.Module.to(kind.from_pretrained(folder), torch.float32).eval()
            facts["accuracy"] = math.nan if facts["accuracy"] is None else float(facts["accuracy"])
            facts["words"] = tuple(map(tuple, facts.get("words", ())))
            return TrainedClassifier(classifier, **facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder}: cannot be loaded ({first_line(error)}); {remedy}") from None
    raise InputError(f"{folder}: a {found}, where a {kind.__name__} belongs; {remedy}")
