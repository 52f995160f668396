"""What is better: orders of settings, and whether one beats another beyond noise."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scipy.special import stdtrit

from synesthete.evaluation.search.measurements import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.search.measurements import Aggregate, Measurement

Goal = Literal["balanced", "kid", "accuracy"]
GOALS: dict[str, str] = {
    "balanced": "the least KID among settings whose accuracy is within one point of the best, or of what real pictures "
    "reach where that is lower",
    "kid": "the least KID, whatever the accuracy",
    "accuracy": "the highest accuracy; of equals the least KID",
}
TOLERANCE = 0.01


def standard_error(share: float, num: int) -> float:
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
    slack = [max(TOLERANCE, 2 * standard_error(best, s.num)) for s in aggregates]
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
class Difference:
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


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """First minus second, repeat by repeat on the same noise; Student's interval over the repeats."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = statistics.fmean(differences)
    half = float(stdtrit(len(differences) - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(len(differences))
    return Difference(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Comparison:
    """The winner of the search against the default: the same fresh noise for both, repeat by repeat.

    kid, accuracy: winner minus default. better: by the goal and beyond noise; reason: why, or why not, in words.
    """

    winner: Aggregate
    default: Aggregate
    num_repeats: int
    kid: Difference
    accuracy: Difference
    better: bool
    reason: str


def compare(winner: Sequence[Measurement], default: Sequence[Measurement], goal: Goal, ceiling: float) -> Comparison:
    """Classifier repeats of both settings, in pairs of equal noise."""
    if winner[0].settings == default[0].settings:
        none = Difference(0.0, 0.0, 0.0)
        same = together(default)
        return Comparison(same, same, len(default), none, none, False, "the search found nothing better than it")
    kid = paired([m.kid for m in winner], [m.kid for m in default])
    accuracy = paired([m.accuracy for m in winner], [m.accuracy for m in default])
    one, other = together(winner), together(default)
    better, reason = decide(one, other, kid, accuracy, goal, ceiling)
    return Comparison(one, other, len(winner), kid, accuracy, better, reason)


def decide(
    winner: Aggregate, default: Aggregate, kid: Difference, accuracy: Difference, goal: Goal, ceiling: float
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
