"""Counts what a program does to files, and kills it at a given one; put before it on PYTHONPATH by kill.py.

KILL_AT: the number of the change before which the process is killed; 0 never. KILL_COUNT: a file that is told, at the
end, how many there were. KILL_ONLY: changes below this folder alone are counted.
"""

import atexit
import io
import os
import signal
import sys
from pathlib import Path

AT = int(os.environ.get("KILL_AT") or 0)
ONLY = os.environ.get("KILL_ONLY") or ""
count = 0


def changes(function, place, writes=lambda *_, **__: True):
    """The function, its calls that change a file below ONLY counted; place: of the path among its arguments."""

    def counted(*arguments, **named):
        global count
        path = arguments[place] if len(arguments) > place else None
        if isinstance(path, str | os.PathLike) and writes(*arguments, **named) and below(path):
            count += 1
            if count == AT:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return counted


def below(path):
    """Whether a path is below ONLY."""
    return str(Path(path).absolute()).startswith(ONLY)


def tell():
    """Say how many changes there were."""
    if os.getpid() == own:
        Path(os.environ["KILL_COUNT"]).write_text(str(count))


def opens_to_write(path, mode="r", *_, **__):
    """Whether a call of open does."""
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


if ONLY:
    for name, place in (("replace", 1), ("rename", 1), ("mkdir", 0), ("unlink", 0), ("rmdir", 0), ("remove", 0)):
        setattr(os, name, changes(getattr(os, name), place))
    os.open = changes(os.open, 0, lambda path, flags=0, *_, **__: bool(flags & (os.O_WRONLY | os.O_RDWR)))
    io.open = changes(io.open, 0, opens_to_write)
    sys.modules["builtins"].open = io.open
    if os.environ.get("KILL_COUNT"):
        own = os.getpid()
        atexit.register(tell)
