"""Two processes that would write to one folder: the second waits, or is told so."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import platform
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from filelock import FileLock, SoftFileLock, Timeout

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

P = ParamSpec("P")
T = TypeVar("T")

LOCK = ".lock"
logger = logging.getLogger(__name__)
# What this process holds, by thread: whoever holds a folder may ask for it again.
held: set[tuple[Path, int]] = set()


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Alone in a folder for as long as the context lasts; the folder is made where it is missing.

    The lock is the operating system's, on the file `.lock`: one that a killed process left is free at once. The file
    tells the process and a hash of the machine's name, for the message. wait: say so and wait, instead of refusing.

    Raises:
        InputError: another process is there, or the folder cannot be made.
    """
    key = (folder.resolve(), threading.get_ident())
    if key in held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with --out") from None
    lock = FileLock(folder / LOCK, mode=0o666)
    taken = take(lock, folder, wait)
    held.add(key)
    try:
        yield
    finally:
        held.discard(key)
        if taken:
            if not wait and not isinstance(lock, SoftFileLock):
                with contextlib.suppress(OSError):  # Windows does not let go of an open file
                    (folder / LOCK).unlink()
            lock.release()


def take(lock: FileLock, folder: Path, wait: bool) -> bool:
    """Take the lock; False where the file system knows none, which is said and no reason to stop."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise InputError(f"{folder}: {owner(folder)} is writing to it; wait for it or choose another") from None
            logger.warning("%s: %s is preparing it; waiting", folder, owner(folder))
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.warning("%s: cannot be locked (%s); let nothing else write there", folder, error)
        return False
    if not isinstance(lock, SoftFileLock):  # which keeps notes of its own in the file
        with contextlib.suppress(OSError):
            (folder / LOCK).write_text(json.dumps({"process": os.getpid(), "machine": machine()}))
    return True


def owner(folder: Path) -> str:
    """Who holds a folder, as far as its lock tells."""
    try:
        notes = json.loads((folder / LOCK).read_text())
        return f"process {notes['process']}" + ("" if notes["machine"] == machine() else " of another machine")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def machine() -> str:
    """The machine, without its name."""
    return hashlib.blake2b(platform.node().encode(), digest_size=6).hexdigest()


def alone(place: Callable[..., Path]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Calls of a function that write to the same place, named by its arguments, wait for each other."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with locked(place(*args, **kwargs), wait=True):
                return function(*args, **kwargs)

        return call

    return decorate
