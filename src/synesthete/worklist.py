"""What is to be made in a folder, and how far it has come, as the files themselves say.

And what a command that was killed has made already: the same request goes on in its folder, and keeps what is whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete.io import append_to, cannot_write, digest, locked, read_json, remove_leftovers, write_file
from synesthete.types import InputError

PLACE = ".work"  # in the folder: STEP.json, the files to be made, written when it begins, and STEP.failed.jsonl
UNFINISHED = ".unfinished"  # says, in a folder, what is being written there; left by a process that is killed
DEPTH = 3  # folders below the one that is asked about

logger = logging.getLogger(__name__)


class Worklist:
    """The files that a step makes in a folder. Each is whole once it is there, so nothing need say that it is done."""

    def __init__(self, folder: Path, step: str, files: Iterable[Path]) -> None:
        self.folder, self.failures = folder, folder / PLACE / f"{step}.failed.jsonl"
        names = [path.relative_to(folder).as_posix() for path in files]
        write_file(folder / PLACE / f"{step}.json", json.dumps({"step": step, "files": names}))

    def fail(self, path: Path, why: str) -> None:
        """Keep that a file could not be made this time."""
        with contextlib.suppress(OSError), append_to(self.failures) as failures:  # a full disk is said elsewhere
            failures.write(json.dumps([path.relative_to(self.folder).as_posix(), why]) + "\n")

    @contextlib.contextmanager
    def making(self, path: Path) -> Iterator[None]:
        """Keep why, where this process cannot make a file."""
        try:
            yield
        except InputError as error:
            self.fail(path, str(error))
            raise


@dataclass(frozen=True)
class Failure:
    """A file that is not there, why it could not be made the last time, and how often that was tried."""

    file: str
    why: str
    tries: int


@dataclass(frozen=True)
class Standing:
    """How far a step has come. rate: files a second since it was last begun; None where none was made since."""

    step: str
    total: int
    done: int
    failed: tuple[Failure, ...]
    rate: float | None

    @property
    def left(self) -> int:
        """Neither done nor failed."""
        return self.total - self.done - len(self.failed)

    def __str__(self) -> str:
        """A line, and one for each of ten failures."""
        left = f", {self.rate:.3g} a second" if self.rate else ""
        if self.rate and self.left:
            left += f", about {self.left / self.rate:.0f} s"
        lines = [f"{self.step}: {self.done} of {self.total} done, {len(self.failed)} failed, {self.left} left{left}"]
        lines += [f"  {one.file}: {one.why} (tried {one.tries} times)" for one in self.failed[:10]]
        return "\n".join(lines)


def standings(folder: Path) -> list[Standing]:
    """How far the steps in a folder and those below it have come, in the order of their beginnings."""
    plans = [path for depth in range(DEPTH + 1) for path in folder.glob("*/" * depth + f"{PLACE}/*.json")]
    found = [standing_of(path) for path in sorted(plans, key=lambda path: path.stat().st_mtime_ns)]
    if not found:
        raise InputError(f"{folder}: nothing was prepared here; give the folder of `prepare --out`")
    return found


def standing_of(plan: Path) -> Standing:
    """How far the step of a plan has come."""
    folder, began = plan.parent.parent, plan.stat().st_mtime
    try:
        values = dict(read_json(plan))
        step, files = str(values["step"]), list(values["files"])
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{plan}: damaged; prepare again, which keeps what is there") from None
    times = {name: made for name in files if (made := time_made(folder / name)) is not None}
    lost = [(name, why) for name, why in read_failures(plan.with_suffix(".failed.jsonl")) if name not in times]
    tries, last = Counter(name for name, _ in lost), dict(lost)
    wanted = set(files)
    failed = tuple(Failure(name, why, tries[name]) for name, why in last.items() if name in wanted)
    new = [made for made in times.values() if made > began]
    rate = len(new) / (max(new) - began) if new else None
    return Standing(step, len(files), len(times), failed, rate)


def time_made(path: Path) -> float | None:
    """When a file was made; None where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def read_failures(path: Path) -> Iterator[tuple[str, str]]:
    """(file, why) of each line that is whole."""
    lines: list[Any] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            name, why = json.loads(line)
            yield str(name), str(why)


class Unfinished:
    """What is made of a request in a folder so far.

    The mark there has the request in its first line, and then, as JSON, a line for each thing that is made: its name,
    its files with a digest of each, and what is to be told of it.

    Attributes:
        goes_on: whether the mark is of this very request. made: by name, the files' digests and what was told.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder, self.mark, self.request = folder, folder / UNFINISHED, request
        self.made: dict[str, tuple[dict[str, str], Any]] = {}
        try:
            first, *lines = self.mark.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            first, lines = "", []
        self.goes_on = first == request
        with contextlib.suppress(ValueError, TypeError):  # the end of a line that a kill cut short
            for name, files, told in map(json.loads, lines if self.goes_on else []):
                self.made[name] = (files, told)

    def begin(self) -> None:
        """Write the mark, without lines that cannot be read."""
        lines = [self.request, *(json.dumps([name, *facts]) for name, facts in self.made.items()), ""]
        write_file(self.mark, "\n".join(lines))

    def recall(self, name: str) -> Any | None:
        """What was told of a thing whose files are as they were written; None of any other."""
        files, told = self.made.get(name, ({}, None))
        try:
            return told if all(digest(self.folder / file, size=12) == kept for file, kept in files.items()) else None
        except OSError:
            return None

    def record(self, name: str, paths: Sequence[Path], told: Any) -> None:
        """Keep that a thing is made. paths: its files, whole. told: plain values, not None."""
        files = {path.relative_to(self.folder).as_posix(): digest(path, size=12) for path in paths}
        self.made[name] = (files, told)
        try:
            with append_to(self.mark) as mark:
                mark.write(json.dumps([name, files, told]) + "\n")
        except OSError as error:
            raise cannot_write(self.mark, error) from None


@contextlib.contextmanager
def going_on(folder: Path, request: str, paths: Sequence[Path], check: Callable[[], None]) -> Iterator[Unfinished]:
    """Alone in a folder while `paths` below it are written; the same request goes on where a kill or an error ended it.

    check: makes sure that nothing is replaced; not asked where what is there was left by the same request.
    """
    is_new, is_whole = not folder.exists(), False
    try:
        with locked(folder, deep=False):  # a refusal too removes the lock that a killed process left
            left = Unfinished(folder, request)
            if not left.goes_on:
                check()
            before = {path for path in paths if path.exists() and not left.goes_on}
            for place in {path.parent for path in paths}:
                remove_leftovers(place, deep=False)
            left.begin()
            try:
                yield left
                is_whole = True
            finally:
                is_begun = any(files for files, _ in left.made.values()) or any(
                    path.exists() for path in paths if path not in before
                )
                if is_whole or not is_begun:
                    left.mark.unlink(missing_ok=True)
    finally:
        if is_new and not is_whole:
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()
