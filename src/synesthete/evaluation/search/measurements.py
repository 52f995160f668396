"""What settings were measured to be worth, each once and kept on disk, and which are better beyond noise."""

from __future__ import annotations

import json
import logging
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from scipy.special import stdtrit

from synesthete import seeding
from synesthete.evaluation.search.scoring import FIGURES
from synesthete.evaluation.search.space import name_of, plain_settings
from synesthete.io import digest, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.search.scoring import Scorer


Goal = Literal["balanced", "kid", "accuracy"]
GOALS: dict[str, str] = {
    "balanced": "the least KID among settings whose accuracy is within one point of the best, or of what real pictures "
    "reach where that is lower",
    "kid": "the least KID, whatever the accuracy",
    "accuracy": "the highest accuracy; of equals the least KID",
}
TOLERANCE = 0.01

logger = logging.getLogger(__name__)


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

    def __init__(self, scorer: Scorer, classes: Tensor, folder: Path, subject: str) -> None:
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
        settings = plain_settings(settings)
        key = {"subject": self.subject, "settings": settings, "num": num, "seed": seed}
        path = self.folder / f"{digest(key, size=12)}.json"
        figures = read_figures(path)
        if figures is None:
            labels = labels_of(num, self.classes, seed)
            figures = self.scorer.score(settings, labels, seed).figures()
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


def share_error(share: float, num: int) -> float:
    """Of a share of `num` pictures; Laplace's estimate, so that 0 and 1 are not taken for certain."""
    share = (share * num + 1) / (num + 2)
    return math.sqrt(share * (1 - share) / num)


def within(aggregates: Sequence[Aggregate], ceiling: float) -> list[float]:
    """How much accuracy each has lost beyond what is allowed; 0 where it keeps enough.

    Allowed is TOLERANCE, or two standard errors where few pictures make a larger difference of nothing, below the best
    of them or below `ceiling`, what real pictures reach, where that is lower: pictures that the classifier knows better
    than real ones are no gain.
    """
    best = min(max(s.accuracy for s in aggregates), ceiling)
    slack = [max(TOLERANCE, 2 * share_error(best, s.num)) for s in aggregates]
    return [max(0.0, best - allowed - s.accuracy) for s, allowed in zip(aggregates, slack, strict=True)]


def ranked(aggregates: Sequence[Aggregate], goal: Goal, ceiling: float) -> list[int]:
    """Places of the settings, the best first, by the goal (see GOALS); those that lose accuracy follow, least first."""
    lost = within(aggregates, ceiling) if aggregates and goal == "balanced" else [0.0] * len(aggregates)

    def key(place: int) -> tuple[float, float, int]:
        aggregate = aggregates[place]
        first = {"balanced": lost[place], "kid": 0.0, "accuracy": -aggregate.accuracy}[goal]
        return first, aggregate.kid, place

    return sorted(range(len(aggregates)), key=key)


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Places of the points that no other point beats: none costs no more and loses no more, and one of them less.

    In order of rising cost; of equal points the first.
    """
    # Optuna's front is that of a study's trials; this one is also asked for while they run, and of the default.
    order = sorted(range(len(costs)), key=lambda i: (costs[i], losses[i], i))
    found: list[int] = []
    for place in order:
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
    """The winner of the search against the default: the same fresh noise for both, repeat by repeat.

    kid, accuracy: winner minus default. better: by the goal and beyond noise; reason: why, or why not, in words.
    """

    winner: Aggregate
    default: Aggregate
    num_repeats: int
    kid: PairedDifference
    accuracy: PairedDifference
    better: bool
    reason: str


def compare_repeats(
    winner: Sequence[Measurement], default: Sequence[Measurement], goal: Goal, ceiling: float
) -> Comparison:
    """Compare repeats of both settings, in pairs of equal noise."""
    if winner[0].settings == default[0].settings:
        none = PairedDifference(0.0, 0.0, 0.0)
        same = together(default)
        return Comparison(same, same, len(default), none, none, False, "the search found nothing better than it")
    kid = paired([m.kid for m in winner], [m.kid for m in default])
    accuracy = paired([m.accuracy for m in winner], [m.accuracy for m in default])
    one, other = together(winner), together(default)
    better, reason = decide(one, other, kid, accuracy, goal, ceiling)
    return Comparison(one, other, len(winner), kid, accuracy, better, reason)


def decide(
    winner: Aggregate, default: Aggregate, kid: PairedDifference, accuracy: PairedDifference, goal: Goal, ceiling: float
) -> tuple[bool, str]:
    """Whether the winner is better than the default by the goal, and the reason.

    balanced: a winner that loses more than a point is not. Where the default has lost more than a point against it, a
    clear gain in accuracy decides; otherwise a clearly lower KID.
    """
    if goal == "balanced":
        least = min(max(winner.accuracy, default.accuracy), ceiling) - TOLERANCE
        if winner.accuracy < least:
            return False, f"it loses more than a point of accuracy: {accuracy}"
        by_accuracy = default.accuracy < least
    else:
        by_accuracy = goal == "accuracy"
    if by_accuracy:
        better = accuracy.low > 0
        return better, f"accuracy {accuracy}: {'higher beyond noise' if better else 'not higher beyond noise'}"
    better = kid.high < 0
    return better, f"KID {kid}: {'lower beyond noise' if better else 'not lower beyond noise'}"
