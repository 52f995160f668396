"""Clips made: a phrase spoken, trimmed and fitted to a length, by this process or by many."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import soxr
import torch

from synesthete.data.audio import fit_length, peak_normalise, trim_silence, write_audio
from synesthete.data.speech.plan import TOP_RATE
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.data.manifest import Entry
    from synesthete.data.speech.engines import Engine

RATE_STEP = 10  # words a minute, by which a phrase that does not fit is said faster


@dataclass(frozen=True)
class Job:
    """The clips of one voice and one class, which one worker speaks one after the other."""

    folder: Path
    voice: str
    entries: tuple[Entry, ...]
    num_samples: int
    sample_rate: int


def speak_clip(
    engine: Engine,
    text: str,
    voice: str,
    rate: int,
    pitch: int,
    num_samples: int,
    sample_rate: int,
    semitones: float = 0.0,
) -> tuple[Tensor, int]:
    """A finished clip (num_samples,) and the rate it was said at: `rate`, or the first faster one that fits.

    Raises:
        InputError: it does not fit at the fastest rate either.
        RuntimeError: the engine failed.
    """
    while True:
        spoken, engine_rate = engine.speak(text, voice, rate, pitch, semitones)
        waveform = torch.from_numpy(soxr.resample(spoken.numpy(), engine_rate, sample_rate))  # (S,)
        waveform = trim_silence(waveform, sample_rate)
        if 0 < len(waveform) <= num_samples:
            return fit_length(peak_normalise(waveform), num_samples), rate
        if len(waveform) == 0:
            raise RuntimeError(f"{voice}: the speech engine said {text!r} as silence")
        if rate >= TOP_RATE:
            raise InputError(
                f"{text!r}: {len(waveform) / sample_rate:.2f} s long at {rate} words a minute by {voice}; "
                f"give more seconds (now {num_samples / sample_rate:.2f}) or say less"
            )
        rate = min(rate + RATE_STEP, TOP_RATE)


def speak_jobs(engine: Engine, jobs: Sequence[Job], num_workers: int) -> Iterator[tuple[list[Entry], list[str]]]:
    """Do the jobs, yielding of each, in order, the entries as spoken and a line for each clip the engine failed at.

    Raises:
        InputError: a phrase that does not fit, or a worker that died.
    """
    if num_workers <= 1:
        yield from (speak_job(engine, job) for job in jobs)
        return
    # Not fork: the parent may hold threads and devices. The server imports this module once for all workers.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(num_workers, context, _start, (engine,)) as pool:
        try:
            with without_main(engine):  # all are submitted, and the workers started, at once
                done = pool.map(_work, jobs, chunksize=max(1, min(8, len(jobs) // (4 * num_workers))))
            yield from done
        except BrokenProcessPool:
            raise InputError(
                f"{jobs[0].folder}: a worker of the speech corpus died; run again to go on, or with one worker"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def without_main(engine: Engine) -> Iterator[None]:
    """Start processes that do not run the caller's script again, as they would one without a main guard.

    An engine that is defined in that script needs it, guard and all.
    """
    main = sys.modules["__main__"]
    hidden = {} if type(engine).__module__ == "__main__" else {"__file__": None, "__spec__": None}
    kept = {name: getattr(main, name) for name in hidden if hasattr(main, name)}
    main.__dict__.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            main.__dict__.pop(name)
        main.__dict__.update(kept)


def speak_job(engine: Engine, job: Job) -> tuple[list[Entry], list[str]]:
    """Speak and write the clips of a job; the entries as spoken, and a line for each clip the engine failed at."""
    entries, failures = [], []
    for entry in job.entries:
        drawn = entry.rate or 0
        try:
            waveform, rate = speak_clip(
                engine,
                entry.text or "",
                job.voice,
                drawn,
                entry.pitch or 0,
                job.num_samples,
                job.sample_rate,
                entry.semitones or 0.0,
            )
        except RuntimeError as error:
            failures.append(f"{entry.audio}: {error}")
            continue
        write_audio(job.folder / str(entry.audio), waveform, job.sample_rate)
        if rate != drawn:
            speed = None if entry.speed is None else round(entry.speed * rate / drawn, 2)
            entry = replace(entry, rate=rate, speed=speed)
        entries.append(entry)
    return entries, failures


# The engine of a worker process: its voices, once loaded, serve every job.
_engine: Engine


def _start(engine: Engine) -> None:
    global _engine
    _engine = engine
    # They fill the cores already, and threads that wait for each other made it five times slower.
    torch.set_num_threads(1)


def _work(job: Job) -> tuple[list[Entry], list[str]]:
    return speak_job(_engine, job)
