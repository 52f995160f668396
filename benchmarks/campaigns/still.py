"""Time that stands still, so that what a command writes is the same however long it took, or was interrupted.

    python -m benchmarks.campaigns.still train images-digits-debug --out out/run

It is `synesthete`, with every date that of one moment, and every measured time a count of how often was asked.
"""

from __future__ import annotations

import itertools
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo

MOMENT = 1_800_000_000  # seconds since 1970
TICK = 1 / 64  # of a second, which adds up without rounding


class StillDate(datetime):
    """A date that is always the same."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """The moment."""
        return datetime.fromtimestamp(MOMENT, tz or UTC)


def stand_still() -> None:
    """Let this process have no time; modules of the package that are imported later ask for the date as it is."""
    ticks = itertools.count()
    time.perf_counter = lambda: next(ticks) * TICK
    for name, module in [*sys.modules.items()]:
        if name.startswith("synesthete") and getattr(module, "datetime", None) is datetime:
            module.datetime = StillDate  # type: ignore[attr-defined]


if __name__ == "__main__":
    from synesthete.cli.app import main

    stand_still()
    main()
