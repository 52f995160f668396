"""Something that takes a while, made in a thread of its own: how far it is, how it looks, and whether it stops."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import Any

import gradio as gr
from PIL import Image

from synesthete.studio.cards import draw_message
from synesthete.types import InputError

BETWEEN = 0.25  # seconds between two looks at how far it is


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """What the user gave wrong is a message of the page."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None


class StoppedError(Exception):
    """Somebody asked for it."""


class Work:
    """What a page sees of it.

    Attributes:
        what, done, total: how far it is. step, num_steps: of the sampling that is going on; 0 before the first.
        pictures: of what is made, as it is by now. stop: ends it at its next step.
    """

    def __init__(self) -> None:
        self.what, self.done, self.total, self.step, self.num_steps = "waiting", 0, 0, 0, 0
        self.pictures: list[Image.Image] = []
        self.stop = Event()
        self.started = self.pictured = time.monotonic()

    def say(self, what: str, done: int, total: int) -> None:
        """How far it is, as every `Progress`."""
        self.what, self.done, self.total = what, done, total
        self.check()

    def check(self) -> None:
        """Raises StoppedError where it is to stop."""
        if self.stop.is_set():
            raise StoppedError

    def show(self, step: int, num_steps: int, draw: Callable[[], list[Image.Image]]) -> None:
        """A step is made. draw: gives pictures of it, and is called now and then alone."""
        self.check()
        self.step, self.num_steps = step, num_steps
        if time.monotonic() - self.pictured >= BETWEEN:
            self.pictures = draw()
            self.pictured = time.monotonic()

    @property
    def share(self) -> float:
        """Of it that is done, 0 to 1."""
        if self.what.endswith("steps") or not self.num_steps:
            return self.done / self.total if self.total else 0.0
        inner = self.step / self.num_steps if self.step < self.num_steps else 0.0
        return min((self.done + inner) / self.total, 1.0) if self.total else inner

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None while there is none."""
        gone = time.monotonic() - self.started
        return gone / self.share - gone if self.share > 0 else None

    def follow(self, function: Callable[[], Any]) -> Iterator[Any]:
        """Call the function in a thread; yields None now and then meanwhile, and last what it returned."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(function)
            try:
                while not future.done():
                    wait([future], timeout=BETWEEN)
                    if not future.done():
                        yield None
                yield future.result()
            finally:  # whoever followed is gone
                self.stop.set()


class Works:
    """What each session is having made."""

    def __init__(self) -> None:
        self.going: dict[str, Work] = {}

    @contextlib.contextmanager
    def of(self, request: gr.Request) -> Iterator[Work]:
        """A new one of the session that asks, until the context ends."""
        session, work = str(request.session_hash), Work()
        self.going[session] = work
        try:
            yield work
        finally:
            self.going.pop(session, None)

    def stop(self, request: gr.Request) -> str:
        """End what a session is having made, at its next step."""
        self.leave(request)
        return draw_message("Stopping." if str(request.session_hash) in self.going else "There is nothing to stop.")

    def leave(self, request: gr.Request) -> None:
        """The session waits for nothing any more."""
        if work := self.going.get(str(request.session_hash)):
            work.stop.set()
