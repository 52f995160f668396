"""What settings were measured to be worth, each once and kept on disk, and which are better beyond noise."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
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
    from synesthete.types import Progress

    Settings = dict[str, Any]

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

    accuracy and kid, which is unbiased: means weighted by pictures. seconds_per_picture: the median. Others: means over
    the largest samples alone, since they depend on the size.
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
        classes: numbers (k,) of those to sample, every time as many pictures of each as can be. folder: of a file for
            each measurement. subject: names what is measured by content (see `digest`), so that another model,
            classifier or machine finds nothing of this one's. progress(what, done, total): of what workers measure.
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
        """The figures of `num` pictures; read where they are kept, else measured and kept."""
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

    def repeats(
        self, several: Sequence[Settings], num: int, seeds: Sequence[int], count: Callable[[], None] = lambda: None
    ) -> list[list[Measurement]]:
        """Of each of several settings the measurements by every seed, whose noise all share; count() after each."""
        self.ahead((settings, num, seed) for seed in seeds for settings in several)
        found: list[list[Measurement]] = [[] for _ in several]
        for seed in seeds:
            for own, settings in zip(found, several, strict=True):
                own.append(self.measure(settings, num, seed))
                count()
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
        return list(chain.from_iterable(self.made.values()))

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


@dataclass(frozen=True)
class SearchConfig:
    """What is asked of a search, and which of the settings measured are better by it.

    budget: most seconds per picture. num: most pictures of a setting in the last rung. minutes: for everything.
    ceiling: accuracy of the classifier on real pictures.
    """

    goal: Goal = "balanced"
    budget: float = 0.5
    num: int = 256
    minutes: float = 10.0
    seed: int = 0
    ceiling: float = 1.0

    def losses(self, aggregates: Sequence[Measurement]) -> list[float]:
        """What the goal wants low, beside accuracy lost; drawn against the seconds."""
        return [-each.accuracy if self.goal == "accuracy" else each.kid for each in aggregates]

    def lost_accuracy(self, aggregates: Sequence[Measurement]) -> list[float]:
        """How much accuracy each has lost beyond what the goal allows; 0 if it keeps enough, or accuracy is no matter.

        Allowed is TOLERANCE, or two standard errors of so few pictures, below the best of them or below `ceiling`.
        """
        if self.goal != "balanced" or not aggregates:
            return [0.0] * len(aggregates)
        best, lost = min(max(each.accuracy for each in aggregates), self.ceiling), []
        for each in aggregates:
            share = (best * each.num + 1) / (each.num + 2)  # Laplace's: 0 and 1 are not taken for certain
            error = math.sqrt(share * (1 - share) / each.num)
            lost.append(max(0.0, best - max(TOLERANCE, 2 * error) - each.accuracy))
        return lost

    def allowed(self, aggregates: Sequence[Measurement]) -> list[int]:
        """Places of those that keep as much accuracy as the goal asks for."""
        return [place for place, less in enumerate(self.lost_accuracy(aggregates)) if less == 0]

    def ranked(self, aggregates: Sequence[Measurement]) -> list[int]:
        """Places of the settings, the best first, by the goal; those that lose accuracy, those over budget."""
        each = zip(aggregates, self.lost_accuracy(aggregates), self.losses(aggregates), strict=True)
        keys = [(own.seconds_per_picture > self.budget, lost, loss, own.kid) for own, lost, loss in each]
        return sorted(range(len(aggregates)), key=keys.__getitem__)

    def decide(self, found: Comparison) -> tuple[bool, str]:
        """Whether the first, a search's winner, is better than the second, the default, by the goal; and the reason."""
        if found.first.settings == found.second.settings:
            return False, "the search found nothing better than it"
        by_accuracy = self.goal == "accuracy"
        if self.goal == "balanced":  # a default that lost more than a point is beaten by accuracy, others by their KID
            least = min(max(found.first.accuracy, found.second.accuracy), self.ceiling) - TOLERANCE
            if found.first.accuracy < least:
                return False, f"it loses more than a point of accuracy: {found.accuracy}"
            by_accuracy = found.second.accuracy < least
        if by_accuracy:
            better, said = found.accuracy.low > 0, f"accuracy {found.accuracy}: {{}}higher"
        else:
            better, said = found.kid.high < 0, f"KID {found.kid}: {{}}lower"
        return better, f"{said.format('' if better else 'not ')} beyond noise"


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Places of the points that no other beats in both, by rising cost; of equal points the first."""
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
    found = [paired(*([getattr(m, name) for m in side] for side in (first, second))) for name in ("kid", "accuracy")]
    return Comparison(together(first), together(second), len(first), *found)
