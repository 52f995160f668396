"""The corpus of spoken class names: every voice of every split says every class, each time a little otherwise.

`out/<split>/<class>/<speaker>_<take>.wav`, `out/metadata.jsonl` (the manifest) and `out/corpus.json` (the settings).
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile
import soxr
import torch

from synesthete.data import manifest
from synesthete.data.audio import (
    fit_length,
    peak_normalise,
    trim_silence,
    write_audio,
    write_whole,
)
from synesthete.data.manifest import Entry
from synesthete.data.speech.espeak import MAX_PITCH, MIN_PITCH, MIN_RATE, Espeak
from synesthete.data.speech.voices import split_voices
from synesthete.seeding import generator
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from synesthete.data.speech.voices import Voice

SETTINGS_NAME = "corpus.json"
JOURNAL_NAME = ".clips.jsonl"  # the lines of the clips made so far, until the manifest is written
RATE_STEP = 10  # words a minute, by which a word that does not fit is said faster
TOP_RATE = 320  # words a minute; faster than this nobody follows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorpusSummary:
    """What a build did.

    num_clips: clips that are there, by split. num_made, num_kept: spoken now, found whole from an earlier run.
    num_faster: said faster than drawn, to fit. skipped: one line, `path: reason`, for each clip that failed.
    """

    folder: Path
    num_clips: dict[str, int]
    num_made: int
    num_kept: int
    num_faster: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """The clips of one voice and one class, which one worker speaks one after the other."""

    folder: Path
    voice: str
    entries: tuple[Entry, ...]
    num_samples: int
    sample_rate: int


def build_speech_corpus(
    words: Mapping[str, str | Sequence[str]],
    out: Path | str,
    *,
    seconds: float,
    takes: int = 12,
    voices: Mapping[str, Sequence[Voice]] | None = None,
    rates: tuple[int, int] = (120, 190),
    pitches: tuple[int, int] = (30, 70),
    spec: AudioSpec | None = None,
    seed: int = 0,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusSummary:
    """Speak every class with every voice, `takes` times each, into clips of `seconds` seconds.

    words: class name to what is said, or to several phrases said in turn. voices: by split; `split_voices()` if None.
    rates (words a minute) and pitches (0 to 99, 50 the voice's own) are drawn evenly, ends included, for each clip by
    (seed, split, speaker, class, take). A clip is mono at spec.sample_rate, trimmed, its peak 0.95, and padded with
    exact zeros; a word longer than `seconds` is said again faster until it fits.

    The same arguments give the same bytes on any number of workers (None: all cores). Run again after an interruption,
    it keeps the clips that are whole. progress(done, total) is called after each class of a voice.

    Raises:
        InputError: unusable arguments, an unknown voice, a word too long for `seconds`, a folder that holds a corpus
            of other settings, a full disk, or no engine.
    """
    folder, spec, voices = Path(out), spec or AudioSpec(), voices or split_voices()
    num_samples = round(seconds * spec.sample_rate)
    phrases = {name: (said,) if isinstance(said, str) else tuple(said) for name, said in words.items()}
    _check_arguments(phrases, takes, num_samples, rates, pitches, voices)
    engine = Espeak()
    for voice in (voice for group in voices.values() for voice in group):
        engine.check_voice(voice.name)
    _check_settings(
        folder,
        {
            "engine": f"espeak-ng {engine.version()}",
            "words": {name: list(said) for name, said in phrases.items()},
            "num_samples": num_samples,
            "sample_rate": spec.sample_rate,
            "takes": takes,
            "rates": list(rates),
            "pitches": list(pitches),
            "seed": seed,
            "voices": {split: [voice.name for voice in group] for split, group in voices.items()},
        },
    )
    planned = _plan(phrases, takes, voices, rates, pitches, seed)
    done = _whole_clips(folder, num_samples, spec.sample_rate)
    kept = {path: done[path] for entries in planned.values() for entry in entries if (path := _path(entry)) in done}
    jobs = [
        _Job(folder, voice, missing, num_samples, spec.sample_rate)
        for (_, voice, _), entries in planned.items()
        if (missing := tuple(entry for entry in entries if _path(entry) not in kept))
    ]
    try:
        made, skipped = _speak_all(jobs, folder, len(kept), num_workers or os.cpu_count() or 1, progress)
        final = [
            (drawn, found)
            for entries in planned.values()
            for drawn in entries
            if (found := made.get(_path(drawn)) or kept.get(_path(drawn)))
        ]
        if not final:
            raise InputError(f"{folder}: not one clip could be spoken; first failure: {skipped[0]}")
        manifest.write_manifest(folder, (found for _, found in final))
        (folder / JOURNAL_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); free some space and run again") from None
    for line in skipped:
        logger.warning("skipped %s", line)
    return CorpusSummary(
        folder=folder,
        num_clips=dict(Counter(str(found.split) for _, found in final)),
        num_made=len(made),
        num_kept=len(kept),
        num_faster=sum(found.rate != drawn.rate for drawn, found in final),
        skipped=tuple(skipped),
    )


def speak_clip(
    engine: Espeak, text: str, voice: str, rate: int, pitch: int, num_samples: int, sample_rate: int
) -> tuple[Tensor, int]:
    """A finished clip (num_samples,) and the rate it was said at: `rate`, or the first faster one that fits.

    Raises:
        InputError: it does not fit at the fastest rate either.
        RuntimeError: the engine failed.
    """
    while True:
        spoken, engine_rate = engine.speak(text, voice, rate, pitch)
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


def _check_arguments(
    phrases: Mapping[str, tuple[str, ...]],
    takes: int,
    num_samples: int,
    rates: tuple[int, int],
    pitches: tuple[int, int],
    voices: Mapping[str, Sequence[Voice]],
) -> None:
    if not phrases:
        raise InputError("words: no classes; give at least one class and what is said for it")
    for name, said in phrases.items():
        if not name or name.startswith(".") or set(name) & set("/\\:\0"):
            raise InputError(f"class {name!r}: cannot be the name of a folder; rename it")
        if not said or not all(text.strip() for text in said):
            raise InputError(f"class {name!r}: nothing to say; give it at least one word")
    if takes < 1 or num_samples < 1:
        raise InputError(f"takes {takes}, {num_samples} samples a clip: nothing to make; give at least 1 of each")
    limits = (("rates", rates, MIN_RATE, TOP_RATE), ("pitches", pitches, MIN_PITCH, MAX_PITCH))
    for what, (low, high), least, most in limits:
        if not least <= low <= high <= most:
            raise InputError(f"{what} {low} to {high}: give two numbers from {least} to {most}, the lower first")
    speakers = Counter(voice.speaker for group in voices.values() for voice in group)
    if not speakers:
        raise InputError("voices: none given; leave them out for the package's own")
    if twice := [name for name, count in speakers.items() if count > 1]:
        raise InputError(f"voice {twice[0]}: given twice; splits may not share a voice")


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write corpus.json, or make sure that the one there says the same."""
    path = folder / SETTINGS_NAME
    if not path.exists():
        write_whole(path, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode())
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError):
        raise InputError(f"{path}: not the settings of a corpus; remove {folder} or choose another folder") from None
    for key in sorted(settings.keys() | found.keys()):
        if settings.get(key) != found.get(key):
            raise InputError(
                f"{folder}: holds a corpus of other settings, {_difference(key, found.get(key), settings.get(key))}; "
                "choose another folder or remove this one"
            )


def _difference(key: str, found: Any, wanted: Any) -> str:
    """`takes 12 there, 6 asked for`; of a table or a list only the first parts that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        part = next(k for k in (*found, *wanted) if found.get(k) != wanted.get(k))
        return _difference(f"{key} of {part}", found.get(part), wanted.get(part))
    if isinstance(found, list) and isinstance(wanted, list) and len(found) > 3:
        return f"{key}: {len(found)} there, {len(wanted)} asked for, not the same ones"
    return f"{key} {json.dumps(found)} there, {json.dumps(wanted)} asked for"


def _plan(
    phrases: Mapping[str, tuple[str, ...]],
    takes: int,
    voices: Mapping[str, Sequence[Voice]],
    rates: tuple[int, int],
    pitches: tuple[int, int],
    seed: int,
) -> dict[tuple[str, str, str], tuple[Entry, ...]]:
    """The manifest as drawn, by (split, voice, class), before any word was found too long."""

    def draw(split: str, voice: Voice, label: str, take: int) -> Entry:
        chance = generator(seed, split, voice.speaker, label, take)
        rate, pitch = (int(torch.randint(low, high + 1, (), generator=chance)) for low, high in (rates, pitches))
        return Entry(
            label=label,
            audio=f"{split}/{label}/{voice.speaker}_{take:03d}.wav",
            text=phrases[label][take % len(phrases[label])],
            speaker=voice.speaker,
            rate=rate,
            pitch=pitch,
            split=split,
        )

    return {
        (split, voice.name, label): tuple(draw(split, voice, label, take) for take in range(takes))
        for split, group in voices.items()
        for voice in group
        for label in phrases
    }


def _whole_clips(folder: Path, num_samples: int, sample_rate: int) -> dict[str, Entry]:
    """The clips of an earlier run that are on the disk whole, by path; its last line may be cut short."""
    found: dict[str, Entry] = {}
    if (folder / manifest.FILE_NAME).is_file():
        found |= {_path(entry): entry for entry in manifest.read_manifest(folder)}
    found |= {_path(entry): entry for entry in _read_journal(folder / JOURNAL_NAME)}
    return {path: entry for path, entry in found.items() if _is_whole(folder / path, num_samples, sample_rate)}


def _read_journal(path: Path) -> Iterator[Entry]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # killed in the middle of a line
            values = json.loads(line)
            yield Entry(label=values.pop("class"), **values)


def _is_whole(path: Path, num_samples: int, sample_rate: int) -> bool:
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return False
    return (found.frames, found.samplerate, found.channels) == (num_samples, sample_rate, 1)


def _speak_all(
    jobs: Sequence[_Job], folder: Path, num_kept: int, num_workers: int, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Entry], list[str]]:
    """Do the jobs; the entries as spoken, by path, and a line for each clip that failed."""
    made: dict[str, Entry] = {}
    skipped: list[str] = []
    total = num_kept + sum(len(job.entries) for job in jobs)
    if progress:
        progress(num_kept, total)
    with (folder / JOURNAL_NAME).open("a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that a killed run left open
        for entries, failures in _work(jobs, min(num_workers, len(jobs))):
            made |= {_path(entry): entry for entry in entries}
            skipped += failures
            journal.write("".join(entry.to_json() + "\n" for entry in entries))
            journal.flush()
            if progress:
                progress(num_kept + len(made) + len(skipped), total)
    return made, skipped


def _work(jobs: Sequence[_Job], num_workers: int) -> Iterator[tuple[list[Entry], list[str]]]:
    """The results of the jobs, in order."""
    if num_workers <= 1:
        yield from map(_speak_job, jobs)
        return
    # Not fork: the parent may hold threads and devices. The server imports this module once for all workers.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    # One thread a worker: they fill the cores already, and threads that wait for each other made it five times slower.
    with ProcessPoolExecutor(num_workers, context, torch.set_num_threads, (1,)) as pool:
        try:
            yield from pool.map(_speak_job, jobs, chunksize=max(1, min(8, len(jobs) // (4 * num_workers))))
        except BrokenProcessPool:
            raise InputError(
                f"{jobs[0].folder}: a worker of the speech corpus died; run again to go on, or with one worker"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _speak_job(job: _Job) -> tuple[list[Entry], list[str]]:
    """Speak and write the clips of a job; the entries as spoken, and a line for each clip the engine failed at."""
    engine = Espeak()
    entries, failures = [], []
    for entry in job.entries:
        try:
            waveform, rate = speak_clip(
                engine, entry.text or "", job.voice, entry.rate or 0, entry.pitch or 0, job.num_samples, job.sample_rate
            )
        except RuntimeError as error:
            failures.append(f"{_path(entry)}: {error}")
            continue
        write_audio(job.folder / _path(entry), waveform, job.sample_rate)
        entries.append(replace(entry, rate=rate))
    return entries, failures


def _path(entry: Entry) -> str:
    """The clip's path relative to the corpus, which every entry of a corpus has."""
    return entry.audio or ""
