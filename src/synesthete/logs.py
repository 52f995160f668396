"""How much is said on the way: this package's loggers, and one level between DEBUG and INFO that is theirs alone.

Every module logs under `synesthete`, so `logging.getLogger("synesthete").setLevel("DETAIL")` is all that a program of
one's own needs beside handlers; the libraries' loggers are not touched by it.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

DETAIL = 15
PACKAGE = "synesthete"

logging.addLevelName(DETAIL, "DETAIL")


@dataclass(frozen=True)
class Loudness:
    """From which level on this package speaks, and all others; None is as loud as all others."""

    ours: int | None
    others: int
    format: str = "%(message)s"


LEVELS: dict[str, Loudness] = {
    "error": Loudness(None, logging.ERROR),
    "warning": Loudness(None, logging.WARNING),
    "info": Loudness(logging.INFO, logging.WARNING),
    "detail": Loudness(DETAIL, logging.WARNING),
    "debug": Loudness(None, logging.DEBUG, "%(levelname)s %(name)s: %(message)s"),
}


class StandardError(logging.Handler):
    """Lines on standard error, whatever that is when they are said: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(self.format(record) + "\n")


def listen(level: str = "warning") -> None:
    """Show records from a level of LEVELS on. Handlers that are there already are kept, and no other is added."""
    loudness, root = LEVELS[level], logging.getLogger()
    if not root.handlers:
        root.addHandler(StandardError())
        root.handlers[0].setFormatter(logging.Formatter(loudness.format))
    root.setLevel(loudness.others)
    logging.getLogger(PACKAGE).setLevel(logging.NOTSET if loudness.ours is None else loudness.ours)
