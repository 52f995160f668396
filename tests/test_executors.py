"""Work that divides comes out the same wherever it is done, though a worker dies or does it twice."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from synesthete import executors
from synesthete.executors import divide, using
from synesthete.types import InputError
from unreliable import Unreliable

if TYPE_CHECKING:
    from pathlib import Path


def square(number: int) -> int:
    return number * number


def die_once(folder: Path, number: int) -> int:
    """Whoever comes to the third job first is killed at it."""
    died = folder / "died"
    if number == 3 and not died.exists():
        died.touch()
        os._exit(1)
    return number * number


def die(folder: Path, number: int) -> int:
    if number == 0:
        os._exit(1)
    (folder / str(number)).touch()
    return number


def refuse(number: int) -> int:
    if number == 1:
        raise InputError("one: refused")
    return number


JOBS = {name: place for place, name in enumerate("abcdef")}


@pytest.mark.parametrize("how", ["processes", "threads", "alone", "network"])
def test_every_job_is_done(how):
    assert dict(divide(square, JOBS, how, at_most=2)) == {name: place**2 for name, place in JOBS.items()}
    assert dict(divide(square, {}, how)) == {}


def test_what_is_done_twice_or_lost_comes_out_once():
    unreliable = Unreliable()
    with using(unreliable):
        found = list(divide(square, JOBS))
    assert executors.executor() is executors.LOCAL
    assert len(found) == len(JOBS) and dict(found) == {name: place**2 for name, place in JOBS.items()}
    assert unreliable.rounds == [list("abcdef"), ["d", "b"]]


def test_a_worker_that_dies_costs_nothing(tmp_path):
    found = list(divide(partial(die_once, tmp_path), JOBS, at_most=2))
    assert len(found) == len(JOBS) and dict(found) == {name: place**2 for name, place in JOBS.items()}


def test_a_job_that_kills_its_workers_is_named_when_all_others_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "TRIES", 3)
    with pytest.raises(InputError, match=r"^a: 3 workers that were at it died"):
        list(divide(partial(die, tmp_path), JOBS, at_most=2))
    assert {path.name for path in tmp_path.iterdir()} == set("12345")


@pytest.mark.parametrize("how", ["processes", "threads", "alone"])
def test_what_the_work_refuses_is_said_as_it_is(how):
    with pytest.raises(InputError, match=r"^one: refused$"):
        list(divide(refuse, JOBS, how, at_most=2))
