"""How much is said on the way: this package's loggers, and one level between DEBUG and INFO that is theirs alone.

Every module logs under `synesthete`, so `logging.getLogger("synesthete").setLevel("DETAIL")` is all that a program of
one's own needs beside handlers; the libraries' loggers are not touched by it.
"""

from __future__ import annotations

import logging
import sys
import unicodedata

DETAIL = 15
PACKAGE = "synesthete"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # kinds of letters that move a cursor, turn a line round, or end one
KEPT = "\n\t\u200c\u200d"  # and the two joiners, which scripts and emoji need

logging.addLevelName(DETAIL, "DETAIL")


# From which level on this package speaks, and all others; NOTSET is as loud as all others.
LEVELS: dict[str, tuple[int, int]] = {
    "error": (logging.NOTSET, logging.ERROR),
    "warning": (logging.NOTSET, logging.WARNING),
    "info": (logging.INFO, logging.WARNING),
    "detail": (DETAIL, logging.WARNING),
    "debug": (logging.NOTSET, logging.DEBUG),
}


def visible(text: str) -> str:
    """The text as a terminal may be sent it: letters that would steer it are written out."""
    return "".join(
        letter.encode("unicode_escape").decode()
        if letter not in KEPT and unicodedata.category(letter) in UNSEEN
        else letter
        for letter in text
    )


class StandardError(logging.Handler):
    """Lines on standard error, whatever that is when they are said: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(visible(self.format(record)) + "\n")


def listen(level: str = "warning") -> None:
    """Show records from a level of LEVELS on. Handlers that are there already are kept, and no other is added."""
    (ours, others), root = LEVELS[level], logging.getLogger()
    if not root.handlers:
        root.addHandler(StandardError())
        named = "%(levelname)s %(name)s: " if level == "debug" else ""
        root.handlers[0].setFormatter(logging.Formatter(f"{named}%(message)s"))
    root.setLevel(others)
    logging.getLogger(PACKAGE).setLevel(ours)
