"""Which recordings are trained on, and which are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete import seeding
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.data.labelled import Part
    from synesthete.data.recordings import Recording

SPARE = 1.25  # how far a split may be filled beyond its share
LEAST_SECONDS = 2.0  # that a recording counts as, however short: a strike is a sample like any other


@dataclass
class Entry:
    """A recording that could be opened: a name for its content, how long it is, and the place of its class."""

    recording: Recording
    content: str
    seconds: float
    label: int = 0
    part: Part = "train"


def open_recording(recording: Recording) -> Entry | str:
    """A recording's content and length, or why it cannot be read."""
    try:
        return Entry(recording, recording.content(), recording.header().seconds)
    except InputError as error:
        return str(error)


def divide(entries: Sequence[Entry], shares: dict[Part, float]) -> list[Part]:
    """The split of each recording of a class.

    The held-out splits are filled to their shares of the seconds, in an order drawn from the contents; a recording
    that is too long for one is passed over, and where all are, the shortest is taken; a short one counts as two
    seconds. One is left to train on: of a single recording nothing is held out, of two one, to test on.
    """
    parts: list[Part] = ["train"] * len(entries)
    order = sorted(range(len(entries)), key=lambda i: seeding.derive(0, "split", entries[i].content))
    lengths = [max(entry.seconds, LEAST_SECONDS) for entry in entries]
    for part, share in shares.items():
        left = [i for i in order if parts[i] == "train"]
        if not share or len(left) < 2:
            continue
        wanted, seconds = share * sum(lengths), 0.0
        taken: list[int] = []
        for i in left:
            if seconds < wanted and seconds + lengths[i] <= SPARE * wanted and len(taken) < len(left) - 1:
                taken.append(i)
                seconds += lengths[i]
        for i in taken or [min(left, key=lambda i: lengths[i])]:
            parts[i] = part
    return parts
