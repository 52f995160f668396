"""What settings were measured to be worth, each measured once and kept on disk."""

from __future__ import annotations

import json
import logging
import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from synesthete import seeding
from synesthete.evaluation.search.space import name_of, plain
from synesthete.io import digest, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.search.scoring import Score

FIGURES = ("accuracy", "kid", "kid_floor", "precision", "recall", "diversity", "seconds_per_picture")

logger = logging.getLogger(__name__)


class Scoring(Protocol):
    """What `evaluation.scoring.Scorer` does."""

    def score(self, settings: Mapping[str, Any], labels: Tensor, seed: int) -> Score:
        """What pictures of these labels, made with these settings from the noise of this seed, are worth."""


@dataclass(frozen=True)
class Measurement:
    """The figures of `num` pictures made with `settings` from the noise of `seed`; as `scoring.Score` has them."""

    settings: dict[str, Any]
    num: int
    seed: int
    accuracy: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    diversity: float
    seconds_per_picture: float


@dataclass(frozen=True)
class Aggregate:
    """Several measurements of the same settings, taken together.

    num: pictures in all. accuracy, kid: means, weighted by pictures; the KID is unbiased, so samples of any size may be
    joined. precision, recall, kid_floor: means over the largest samples alone, since they depend on the size.
    seconds_per_picture: the median. num_times: how many timings that is of.
    """

    settings: dict[str, Any]
    num: int
    accuracy: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    seconds_per_picture: float
    num_times: int

    @property
    def name(self) -> str:
        """The settings in a line."""
        return name_of(self.settings)


def together(measurements: Sequence[Measurement]) -> Aggregate:
    """The aggregate of settings after one measurement or more."""
    num = sum(m.num for m in measurements)
    largest = [m for m in measurements if m.num == max(m.num for m in measurements)]
    return Aggregate(
        settings=measurements[0].settings,
        num=num,
        accuracy=sum(m.accuracy * m.num for m in measurements) / num,
        kid=sum(m.kid * m.num for m in measurements) / num,
        kid_floor=statistics.fmean(m.kid_floor for m in largest),
        precision=statistics.fmean(m.precision for m in largest),
        recall=statistics.fmean(m.recall for m in largest),
        seconds_per_picture=statistics.median(m.seconds_per_picture for m in measurements),
        num_times=len(measurements),
    )


class Measurements:
    """Measures settings, and never twice the same.

    Args:
        scorer: does the measuring. classes: numbers (k,) of the classes to sample; every sample has as many pictures of
            each as can be, and two at least if the KID is to be unbiased.
        folder: where a file for each measurement is kept. subject: names what is measured by content (see `digest`), so
            that another model, classifier or machine finds nothing of this one's.
    """

    def __init__(self, scorer: Scoring, classes: Tensor, folder: Path, subject: str) -> None:
        self.scorer, self.classes, self.folder, self.subject = scorer, classes, folder, subject
        self.made: dict[str, list[Measurement]] = {}
        self.num_new = 0  # measured now, not read

    @property
    def fewest(self) -> int:
        """Pictures that a sample needs."""
        return 2 * len(self.classes)

    def measure(self, settings: Mapping[str, Any], num: int, seed: int) -> Measurement:
        """The figures of `num` pictures; read where they are kept, else measured and kept.

        Raises:
            InputError: settings that the model cannot be sampled with, or a folder that cannot be written.
        """
        settings = plain(settings)
        key = {"subject": self.subject, "settings": settings, "num": num, "seed": seed}
        path = self.folder / f"{digest(key, size=12)}.json"
        figures = read_figures(path)
        if figures is None:
            labels = labels_of(num, self.classes, seed)
            score = self.scorer.score(settings, labels, seed)
            figures = {name: float(getattr(score, name)) for name in FIGURES}
            kept = {name: value if math.isfinite(value) else None for name, value in figures.items()}
            write_file(path, json.dumps({**key, "figures": kept}, indent=1) + "\n")
            self.num_new += 1
        found = Measurement(settings, num, seed, **figures)
        own = self.made.setdefault(name_of(settings), [])
        if found not in own:
            own.append(found)
        return found

    def aggregates(self) -> list[Aggregate]:
        """Every settings measured so far, with all that was measured of it."""
        return [together(own) for own in self.made.values()]


def read_figures(path: Path) -> dict[str, float] | None:
    """The figures of a kept measurement; None where there is none, or a damaged one, which is said."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return {name: math.nan if kept[name] is None else float(kept[name]) for name in FIGURES}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("%s: damaged; measured again", path)
        return None


def labels_of(num: int, classes: Tensor, seed: int) -> Tensor:
    """(num,) labels, as many of each of the classes (k,) as can be; the rest goes to classes drawn by the seed."""
    order = classes[torch.randperm(len(classes), generator=seeding.generator(seed, "labels"))]
    return order.repeat(-(-num // len(order)))[:num].sort().values


def to_dict(measurement: Measurement) -> dict[str, Any]:
    """A measurement as plain values."""
    return asdict(measurement)
