"""How much is said on the way: this package's loggers, and one level between DEBUG and INFO that is theirs alone.

Every module logs under `synesthete`, so `logging.getLogger("synesthete").setLevel("DETAIL")` is all that a program of
one's own needs beside handlers; the libraries' loggers are not touched by it.
"""

from __future__ import annotations

import logging
import sys

DETAIL = 15
PACKAGE = "synesthete"

logging.addLevelName(DETAIL, "DETAIL")


# From which level on this package speaks, and all others; NOTSET is as loud as all others.
LEVELS: dict[str, tuple[int, int]] = {
    "error": (logging.NOTSET, logging.ERROR),
    "warning": (logging.NOTSET, logging.WARNING),
    "info": (logging.INFO, logging.WARNING),
    "detail": (DETAIL, logging.WARNING),
    "debug": (logging.NOTSET, logging.DEBUG),
}


class StandardError(logging.Handler):
    """Lines on standard error, whatever that is when they are said: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(self.format(record) + "\n")


def listen(level: str = "warning") -> None:
    """Show records from a level of LEVELS on. Handlers that are there already are kept, and no other is added."""
    (ours, others), root = LEVELS[level], logging.getLogger()
    if not root.handlers:
        root.addHandler(StandardError())
        named = "%(levelname)s %(name)s: " if level == "debug" else ""
        root.handlers[0].setFormatter(logging.Formatter(f"{named}%(message)s"))
    root.setLevel(others)
    logging.getLogger(PACKAGE).setLevel(ours)
