"""Executors other than this process: one on which whatever may go wrong goes wrong, and two processes."""

from __future__ import annotations

from synesthete.executors import Local, Lost


class Unreliable(Local):
    """Does everything twice, and the first time loses the second job and forgets to say of the fourth."""

    def __init__(self) -> None:
        self.rounds: list[list] = []

    def run(self, work, jobs, how, at_most=None):
        self.rounds.append(list(jobs))
        for place, (name, job) in enumerate(jobs.items()):
            if len(self.rounds) == 1 and place in (1, 3):
                work(job)
                if place == 1:
                    yield name, Lost("its machine went away")
                continue
            yield name, work(job)
            yield name, work(job)


class TwoProcesses(Local):
    """Other processes of this machine, for whatever work."""

    def run(self, work, jobs, how, at_most=None):
        return super().run(work, jobs, "processes", 2)
