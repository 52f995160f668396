"""One check: what was looked at, the verdict, the figure it rests on, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from synesthete.evaluation.reporting.report import Table
from synesthete.objectives import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Check:
    """What was looked at, and how it is.

    found: the figure in words. advice: what to do where the verdict is not "ok". figures: those the verdict rests on.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    figures: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line, and one more with the advice where there is some."""
        return f"{self.verdict:<4}  {self.name}: {self.found}" + (f"\n      {self.advice}" if self.advice else "")


def check(
    name: str,
    found: str,
    *,
    bad: bool = False,
    warn: bool = False,
    advice: str = "",
    figures: dict[str, Any] | None = None,
) -> Check:
    """A check that is bad, or a warning, or neither, and then needs no advice."""
    return Check(name, "bad" if bad else "warn" if warn else "ok", found, advice if bad or warn else "", figures)


def worst(checks: Iterable[Check]) -> Verdict:
    """The worst verdict of all; "ok" where nothing was looked at."""
    verdicts: Sequence[Verdict] = get_args(Verdict)
    return max((check.verdict for check in checks), key=verdicts.index, default="ok")


def table(checks: Sequence[Check]) -> Table:
    """The checks as a report shows them."""
    return Table(("verdict", "what", "found", "what to do"), [(c.verdict, c.name, c.found, c.advice) for c in checks])


def readable(num_bytes: float) -> str:
    """A size as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """A time as people say it."""
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
