"""What a command that was killed has made already: the same request goes on in its folder, and keeps what is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from synesthete.io import append_to, cannot_write, digest, locked, remove_leftovers, write_file

UNFINISHED = ".unfinished"  # says, in a folder, what is being written there; left by a process that is killed


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
