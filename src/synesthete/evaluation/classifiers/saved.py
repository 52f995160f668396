"""Classifiers on a disk: in the cache, so that one is trained once, and beside a model, for whoever samples from it."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypedDict

import torch
from torch import nn
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.evaluation.classifiers.classifier import C, train
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.io import digest, locked, write_file, write_folder
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.classifiers.classifier import Classifier, Progress, Samples
    from synesthete.evaluation.metrics.metric import Metric

FOLDER = "classifier"
FACTS = "classifier.json"
FORMER = "judge"  # the folder's name before anything was released


class TrainingOptions(TypedDict, total=False):
    """What `load_or_train` takes beside the samples."""

    seed: int
    num_steps: int | None
    progress: Progress | None


@dataclass(frozen=True)
class TrainedClassifier(Generic[C]):
    """A classifier, and how good it is.

    accuracy: on `num_test` real samples that it never met, nor the model beside it; NaN where it knows no classes.
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
    seed: int = 0,
    num_steps: int | None = None,
    num_voices: int = 0,
    progress: Progress | None = None,
) -> TrainedClassifier[C]:
    """The classifier for these samples: from the cache, where one was trained on the same in the same way.

    build, num_steps, progress: as `train`. samples, labels: what it learns from, which no generator is trained on.
    test, test_labels: real samples that its accuracy is measured on. num_voices: of those.

    Raises:
        InputError: samples that nothing can be learned from, or a cache that cannot be written.
    """
    untrained = build()
    name = digest(
        type(untrained).__name__,
        {key: value for key, value in untrained.config.items() if not key.startswith("_")},
        asdict(untrained.training_settings),
        [seed, num_steps, num_voices],
        fingerprint(build, samples),
        *(samples, labels, test, test_labels),
    )
    place = hub.cache_folder() / "classifiers" / name
    with locked(place, wait=True):
        with contextlib.suppress(InputError):  # damaged: trained again
            if found := load_classifier(place, type(untrained)):
                return found
        start = time.perf_counter()
        classifier = train(build, samples, labels, seed=seed, num_steps=num_steps, progress=progress)
        share = measure(classifier, test, test_labels)
        num_test = 0 if math.isnan(share) else len(test_labels)
        trained = TrainedClassifier(classifier, share, num_test, num_voices, seconds=time.perf_counter() - start)
        write_classifier(trained, place)
    return trained


def measure(classifier: Classifier, samples: Samples, labels: Tensor) -> float:
    """Its accuracy on real samples; NaN where there are none, or it knows no classes."""
    if not len(labels) or not classifier.knows_classes:
        return math.nan
    return accuracy(labels, classifier.classify(samples))


def fingerprint(build: Callable[[], C], samples: Samples) -> list[list[int]]:
    """What front end, augmentation and layers make of two samples before anything is learned, in hundredths.

    It stands for their code in the name of a cached classifier: one that computes something else is another, however
    it is written. Coarse, so that another number of threads names the same.
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
    """Write it into a model's folder in half precision; what was written, with the accuracy that it then has on `test`.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    half = nn.Module.to(copy.deepcopy(trained.classifier), torch.float16)
    rounded = nn.Module.to(copy.deepcopy(half), torch.float32)
    kept = replace(trained, classifier=rounded, accuracy=measure(rounded, test, test_labels), seconds=0.0)
    write_classifier(replace(kept, classifier=half), model)
    return kept


def write_classifier(trained: TrainedClassifier[C], model: Path) -> None:
    """Write weights, configuration and how good it is into a model's folder, whole, over one that is there.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    facts: dict[str, Any] = {
        "accuracy": None if math.isnan(trained.accuracy) else trained.accuracy,
        "num_test": trained.num_test,
    }
    facts |= {key: getattr(trained, key) for key in ("num_voices", "words", "seconds") if getattr(trained, key)}

    def fill(folder: Path) -> None:
        trained.classifier.save_pretrained(folder)
        write_file(folder / FACTS, json.dumps(facts, indent=1) + "\n")

    write_folder(model / FOLDER, fill)


def load_classifier(model: Path, kind: type[C]) -> TrainedClassifier[C] | None:
    """The classifier in a model's folder, or None where there is none.

    Raises:
        InputError: damaged files, a classifier of another kind, or one of before.
    """
    folder = model / FOLDER
    remedy = "remove it and train the model's run again"
    if not (folder / FACTS).is_file():
        if (model / FORMER).is_dir():
            raise InputError(f"{model / FORMER}: the folder of an older version; {remedy}")
        return None
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
        if found == kind.__name__:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            classifier = nn.Module.to(kind.from_pretrained(folder), torch.float32).eval()
            facts["accuracy"] = math.nan if facts["accuracy"] is None else float(facts["accuracy"])
            facts["words"] = tuple(map(tuple, facts.get("words", ())))
            return TrainedClassifier(classifier, **facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded ({reason}); {remedy}") from None
    raise InputError(f"{folder}: a {found}, where a {kind.__name__} belongs; {remedy}")
