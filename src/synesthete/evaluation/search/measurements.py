"""What settings were measured to be worth, each once and kept on disk, and which are better beyond noise."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.reporting.report import finite
from synesthete.evaluation.search.scoring import FIGURES, Figures, Scorer, read_figures
from synesthete.evaluation.search.space import name_of, plain_settings
from synesthete.executors import LOCAL, divide_ahead, executor
from synesthete.io import digest, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from synesthete.types import Progress


Goal = Literal["balanced", "kid", "accuracy"]
GOALS: dict[str, str] = {
    "balanced": "the least KID among settings whose accuracy is within one point of the best, or of what real pictures "
    "reach where that is lower",
    "kid": "the least KID, whatever the accuracy",
    "accuracy": "the highest accuracy; of equals the least KID",
}
TOLERANCE = 0.01


@dataclass(frozen=True)
class Measurement(Figures):
    """The figures of `num` pictures made with `settings` from the noise of `seed`; None: several, taken `together`."""

    settings: dict[str, Any]
    num: int
    seed: int | None = None

    @property
    def name(self) -> str:
        """The settings in a line."""
        return name_of(self.settings)


def together(measurements: Sequence[Measurement]) -> Measurement:
    """Several measurements of the same settings as one, of all their pictures.

    accuracy, kid: means, weighted by pictures; the KID is unbiased, so samples of any size may be joined. precision,
    recall, diversity, kid_floor: means over the largest samples alone, since they depend on the size.
    seconds_per_picture: the median.
    """
    num, most = sum(m.num for m in measurements), max(m.num for m in measurements)
    figures: dict[str, Any] = {
        name: statistics.fmean(getattr(m, name) for m in measurements if m.num == most) for name in FIGURES
    }
    for name in ("accuracy", "kid"):
        figures[name] = sum(getattr(m, name) * m.num for m in measurements) / num
    figures["seconds_per_picture"] = statistics.median(m.seconds_per_picture for m in measurements)
    return Measurement(**figures, settings=measurements[0].settings, num=num)


class Measurements:
    """Measures settings, and never twice the same.

    Args:
        scorer: does the measuring. classes: numbers (k,) of the classes to sample; every sample has as many pictures of
            each as can be, and two at least if the KID is to be unbiased.
        folder: where a file for each measurement is kept. subject: names what is measured by content (see `digest`), so
            that another model, classifier or machine finds nothing of this one's.
        progress(what, done, total): of what is measured elsewhere.
    """

    def __init__(
        self, scorer: Scorer, classes: Tensor, folder: Path, subject: str, progress: Progress | None = None
    ) -> None:
        self.scorer, self.classes, self.folder, self.subject = scorer, classes, folder, subject
        self.progress = progress or (lambda *_: None)
        self.made: dict[str, list[Measurement]] = {}
        self.num_new = 0  # measured now, not read
        self.fewest = 2 * len(classes)  # pictures that a sample needs

    def measure(self, settings: Mapping[str, Any], num: int, seed: int) -> Measurement:
        """The figures of `num` pictures; read where they are kept, else measured and kept.

        Raises:
            InputError: settings that the model cannot be sampled with, or a folder that cannot be written.
        """
        path, key = self.job(settings, num, seed)
        figures = read_figures(path)
        if figures is None:
            figures = make_measurement(self.scorer, self.classes, (path, key))
            self.num_new += 1
        found = Measurement(**figures, settings=key["settings"], num=num, seed=seed)
        own = self.made.setdefault(found.name, [])
        if found not in own:
            own.append(found)
        return found

    def ahead(self, asked: Iterable[tuple[Mapping[str, Any], int, int]]) -> None:
        """Let workers elsewhere make the measurements (settings, num, seed) that `measure` then reads."""
        jobs = {job[0]: job for job in (self.job(*one) for one in asked)}
        missing = sum(not path.is_file() for path in jobs)
        if executor() is LOCAL or not missing:
            return
        _, key = next(iter(jobs.values()))
        self.scorer.kid_floor(labels_of(key["num"], self.classes, 0))  # looks at the real pictures, once for all
        make = partial(make_measurement, self.scorer, self.classes)
        divide_ahead(make, jobs, "network", report=partial(self.progress, f"with {executor().name}"))
        self.num_new += missing

    def job(self, settings: Mapping[str, Any], num: int, seed: int) -> tuple[Path, dict[str, Any]]:
        """The file of a measurement, and what is measured."""
        key = {"subject": self.subject, "settings": plain_settings(settings), "num": num, "seed": seed}
        return self.folder / f"{digest(key, size=12)}.json", key

    def all(self) -> list[Measurement]:
        """Every measurement so far, those of the same settings one after the other."""
        return [measured for own in self.made.values() for measured in own]

    def aggregates(self) -> list[Measurement]:
        """Every settings measured so far, with all that was measured of it."""
        return [together(own) for own in self.made.values()]


def make_measurement(scorer: Scorer, classes: Tensor, job: tuple[Path, Mapping[str, Any]]) -> dict[str, float]:
    """Measure what `Measurements.job` names, keep it in its file, and return the figures."""
    path, key = job
    labels = labels_of(key["num"], classes, key["seed"])
    figures = scorer.score(key["settings"], labels, key["seed"]).figures()
    write_file(path, json.dumps({**key, "figures": finite(figures)}, indent=1) + "\n")
    return figures


def labels_of(num: int, classes: Tensor, seed: int) -> Tensor:
    """(num,) labels, as many of each of the classes (k,) as can be; the rest goes to classes drawn by the seed."""
    order = classes[torch.randperm(len(classes), generator=seeding.generator(seed, "labels"))]
    return order.repeat(-(-num // len(order)))[:num].sort().values


def lost_accuracy(aggregates: Sequence[Measurement], goal: Goal, ceiling: float) -> list[float]:
    """How much accuracy each has lost beyond what the goal allows; 0 where it keeps enough, or accuracy is no matter.

    Allowed is TOLERANCE, or two standard errors where few pictures make a larger difference of nothing, below the best
    of them or below `ceiling`, what real pictures reach, where that is lower: pictures that the classifier knows better
    than real ones are no gain.
    """
    if goal != "balanced" or not aggregates:
        return [0.0] * len(aggregates)
    best, lost = min(max(a.accuracy for a in aggregates), ceiling), []
    for aggregate in aggregates:
        share = (best * aggregate.num + 1) / (aggregate.num + 2)  # Laplace's: 0 and 1 are not taken for certain
        error = math.sqrt(share * (1 - share) / aggregate.num)
        lost.append(max(0.0, best - max(TOLERANCE, 2 * error) - aggregate.accuracy))
    return lost


def loss(aggregate: Measurement, goal: Goal) -> float:
    """What the goal wants low, beside accuracy lost."""
    return -aggregate.accuracy if goal == "accuracy" else aggregate.kid


def ranked(aggregates: Sequence[Measurement], goal: Goal, ceiling: float, budget: float = math.inf) -> list[int]:
    """Places of the settings, the best first, by the goal (see GOALS); those that lose accuracy follow, least first.

    Those that take more than `budget` seconds a picture are last.
    """
    lost = lost_accuracy(aggregates, goal, ceiling)

    def order(place: int) -> tuple[float, ...]:
        own = aggregates[place]
        return own.seconds_per_picture > budget, lost[place], loss(own, goal), own.kid, place

    return sorted(range(len(aggregates)), key=order)


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Places of the points that no other point beats: none costs no more and loses no more, and one of them less.

    In order of rising cost; of equal points the first.
    """
    # Optuna's front is that of a study's trials; this one is also asked for while they run, and of the default.
    found: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], losses[i], i)):
        if not found or losses[place] < losses[found[-1]]:
            found.append(place)
    return found


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference with its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside the interval."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """`-0.0012 (95%: -0.0020 to -0.0004)`."""
        return f"{self.mean:+.2g} (95%: {self.low:+.2g} to {self.high:+.2g})"


def paired(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """First minus second, repeat by repeat on the same noise; Student's interval over the repeats."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.fmean(differences)
    half = float(stdtrit(len(differences) - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(len(differences))
    return PairedDifference(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Comparison:
    """Two settings on the same fresh noise, `num_repeats` times. kid, accuracy: the first minus the second."""

    first: Measurement
    second: Measurement
    num_repeats: int
    kid: PairedDifference
    accuracy: PairedDifference


def compare_repeats(first: Sequence[Measurement], second: Sequence[Measurement]) -> Comparison:
    """Compare repeats of both settings, in pairs of equal noise."""
    kid, accuracy = (
        paired([getattr(m, name) for m in first], [getattr(m, name) for m in second]) for name in ("kid", "accuracy")
    )
    return Comparison(together(first), together(second), len(first), kid, accuracy)


def decide(found: Comparison, goal: Goal, ceiling: float) -> tuple[bool, str]:
    """Whether the first, a search's winner, is better than the second, the default, by the goal; and the reason.

    balanced: a winner that loses more than a point is not. Where the default has lost more than a point against it, a
    clear gain in accuracy decides; otherwise a clearly lower KID.
    """
    if found.first.settings == found.second.settings:
        return False, "the search found nothing better than it"
    by_accuracy = goal == "accuracy"
    if goal == "balanced":
        least = min(max(found.first.accuracy, found.second.accuracy), ceiling) - TOLERANCE
        if found.first.accuracy < least:
            return False, f"it loses more than a point of accuracy: {found.accuracy}"
        by_accuracy = found.second.accuracy < least
    if by_accuracy:
        better = found.accuracy.low > 0
        return better, f"accuracy {found.accuracy}: {'higher beyond noise' if better else 'not higher beyond noise'}"
    better = found.kid.high < 0
    return better, f"KID {found.kid}: {'lower beyond noise' if better else 'not lower beyond noise'}"
