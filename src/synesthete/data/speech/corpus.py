"""The corpus of spoken class names: every voice of every split says every class, each time a little otherwise.

`out/<split>/<class>/<speaker>_<take>.wav`, `out/metadata.jsonl` (the manifest) and `out/corpus.json` (the settings).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile
import torch
from torch import Tensor

from synesthete.data.audio import as_float, fit_length, read_audio, to_int16
from synesthete.data.files import MANIFEST_NAME, Entry, SourceFile, read_manifest, write_manifest
from synesthete.data.rows import Rows
from synesthete.data.speech.clips import CorpusPlan, Job, Variation, count_targets, few_targets, speak_job
from synesthete.data.speech.engines import Espeak
from synesthete.executors import divide
from synesthete.io import append_to, digest, load_or_compute, read_json, write_file
from synesthete.types import AudioSpec, InputError
from synesthete.worklist import Worklist

if TYPE_CHECKING:
    from synesthete.data.speech.engines import Engine, Voice

# Clips that espeak has spoken before other processes have imported what they need.
FEW = 500
WAVEFORMS, SHARD = "waveforms", 500  # the folder of what was decoded, and clips a file there
JOURNAL_NAME = ".clips.jsonl"  # the lines of the clips made so far, until the manifest is written

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


def build_speech_corpus(
    words: Mapping[str, str | Sequence[str]],
    out: Path | str,
    *,
    seconds: float,
    takes: int = 12,
    engine: Engine | None = None,
    voices: Mapping[str, Sequence[Voice]] | None = None,
    rates: tuple[int, int] = (120, 190),
    pitches: tuple[int, int] = (30, 70),
    variation: Variation | None = None,
    allow_few_targets: bool = False,
    spec: AudioSpec | None = None,
    seed: int = 0,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CorpusSummary:
    """Speak every class with every voice, `takes` times each, into clips of `seconds` seconds.

    words: class name to what is said, or to several phrases said in turn. engine: Espeak where None. voices: by split;
    the engine's own if None. rates (words a minute) and pitches (0 to 99, 50 the voice's own) are drawn evenly, ends
    included, for each clip by (seed, split, speaker, class, take), and after them speed and semitones as `variation`
    says; None varies neither. A clip is mono at spec.sample_rate, trimmed, its peak 0.95, and padded with exact zeros;
    a phrase longer than `seconds` is said again faster until it fits. allow_few_targets: speak a corpus that is too
    poor to train on (`few_targets`), with a warning.

    The same arguments give the same bytes on any number of workers (None: all cores; for a few clips of espeak's, this
    process alone), and by any executor. Run again after an interruption, it keeps the clips that are whole.
    progress(done, total) is called after each class of a voice.
    """
    folder, spec, engine = Path(out), spec or AudioSpec(), engine or Espeak()
    plan = CorpusPlan(
        phrases={name: (said,) if isinstance(said, str) else tuple(said) for name, said in words.items()},
        voices=voices or engine.split_voices(),
        takes=takes,
        num_samples=round(seconds * spec.sample_rate),
        sample_rate=spec.sample_rate,
        rates=rates,
        pitches=pitches,
        variation=variation or Variation(),
        seed=seed,
    )
    for voice in (voice for group in plan.voices.values() for voice in group):
        for pitch, semitones in product(plan.pitches, plan.variation.semitones or (0.0,)):
            engine.check_voice(voice.name, pitch, semitones)
    planned = plan.draw()
    drawn = [entry for entries in planned.values() for entry in entries]
    # The other splits teach no model to speak.
    if reason := few_targets(count_targets(entry for entry in drawn if entry.split == "train")):
        if not allow_few_targets:
            raise InputError(
                f"training corpus of {reason}; to speak it all the same, --set data.allow_few_targets=true"
            )
        logger.warning("training corpus of %s", reason)
    keep_settings(folder, {"engine": engine.identity()} | plan.settings())
    done = _whole_clips(folder, plan.num_samples, plan.sample_rate)
    kept = {path: done[path] for entry in drawn if (path := str(entry.audio)) in done}
    jobs = [
        Job(folder, voice, missing, plan.num_samples, plan.sample_rate)
        for (_, voice, _), entries in planned.items()
        if (missing := tuple(entry for entry in entries if str(entry.audio) not in kept))
    ]
    total = len(kept) + sum(len(job.entries) for job in jobs)
    if num_workers is None and isinstance(engine, Espeak) and total - len(kept) < FEW:
        num_workers = 1
    try:
        paths = (folder / str(entry.audio) for entry in drawn)
        report = lambda num: progress(len(kept) + num, total)  # noqa: E731
        made, skipped = _speak_all(engine, jobs, folder, paths, num_workers, report)
        there = kept | made
        final = [(entry, there[path]) for entry in drawn if (path := str(entry.audio)) in there]
        if not final:
            raise InputError(f"{folder}: not one clip could be spoken; first failure: {skipped[0]}")
        write_manifest(folder, (found for _, found in final))
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
        num_faster=sum(found.rate != entry.rate for entry, found in final),
        skipped=tuple(skipped),
    )


def _whole_clips(folder: Path, num_samples: int, sample_rate: int) -> dict[str, Entry]:
    """The clips of an earlier run that are on the disk whole, by path; its last line may be cut short."""
    found: dict[str, Entry] = {}
    if (folder / MANIFEST_NAME).is_file():
        found |= {str(entry.audio): entry for entry in read_manifest(folder)}
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / JOURNAL_NAME).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # killed in the middle of a line
                values = json.loads(line)
                found[str(values["audio"])] = Entry(label=values.pop("class"), **values)
    whole = {}
    for path, entry in found.items():
        with contextlib.suppress(soundfile.LibsndfileError, OSError):
            there = soundfile.info(folder / path)
            if (there.frames, there.samplerate, there.channels) == (num_samples, sample_rate, 1):
                whole[path] = entry
    return whole


def _speak_all(
    engine: Engine,
    jobs: Sequence[Job],
    folder: Path,
    paths: Iterable[Path],
    num_workers: int | None,
    report: Callable[[int], None],
) -> tuple[dict[str, Entry], list[str]]:
    """Do the jobs; the entries as spoken, by path, and a line for each clip that failed.

    paths: of all clips of the corpus. report(done).
    """
    made: dict[str, Entry] = {}
    skipped: list[str] = []
    report(0)
    worklist = Worklist(folder, "speaking", paths)
    with append_to(folder / JOURNAL_NAME) as journal:
        journal.write("\n")  # ends a line that a killed run left open
        named = {folder / str(job.entries[0].audio): job for job in jobs}
        work = partial(speak_job, engine)
        for _, (entries, failures) in divide(work, named, at_most=num_workers, fail=worklist.fail):
            for line in failures:
                path, _, why = line.partition(": ")
                worklist.fail(folder / path, why)
            made |= {str(entry.audio): entry for entry in entries}
            skipped += failures
            journal.write("".join(entry.to_json() + "\n" for entry in entries))
            journal.flush()
            report(len(made) + len(skipped))
    return made, skipped


SETTINGS_NAME = "corpus.json"


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a corpus into its folder, or make sure that those there say the same."""
    path = folder / SETTINGS_NAME
    if not path.exists():
        write_file(path, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
        return
    try:
        found = dict(read_json(path))
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


@dataclass(frozen=True)
class Clips:
    """The clips of a split: waveforms (n, S) int16 (sample / 32768 is the sound), in shards; labels (n,) int64.

    A label is a place in class_names, which are sorted and the same for every split. skipped: one line a broken file.
    pitches, rates: of each clip (n,) float32, as its manifest tells them, NaN where it does not; None: of no clip.
    """

    waveforms: Tensor | Rows
    labels: Tensor
    class_names: tuple[str, ...]
    speakers: list[str]
    skipped: list[str]
    pitches: Tensor | None = None
    rates: Tensor | None = None

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.labels)

    def __getitem__(self, places: Tensor) -> Clips:
        """Those at some places (k,); none is read."""
        chosen: dict[str, Any] = {
            name: None if (one := getattr(self, name)) is None else one[places] for name in ("pitches", "rates")
        }
        sounds = self.waveforms[places] if isinstance(self.waveforms, Tensor) else self.waveforms.take(places)
        speakers = [self.speakers[i] for i in places.tolist()]
        return replace(self, waveforms=sounds, labels=self.labels[places], speakers=speakers, **chosen)


def load_clips(
    folder: Path | str, split: str, spec: AudioSpec | None = None, *, num_samples: int | None = None
) -> Clips:
    """The clips of a split, by its manifest, at spec.sample_rate.

    Clips are padded at the end with zeros, or cut, to num_samples; None takes the longest. Clips of another rate are
    resampled; one that cannot be read is left out, named in `skipped` and logged. They are decoded once, into shards in
    the folder, which are made again where a file has changed.
    """
    folder, rate = Path(folder), (spec or AudioSpec()).sample_rate
    everything = [entry for entry in read_manifest(folder) if entry.audio]
    chosen = [entry for entry in everything if entry.split == split]
    if not chosen:
        there = ", ".join(sorted({entry.split for entry in everything if entry.split})) or "none"
        raise InputError(f"{folder}: no clips of split {split!r}; its splits: {there}")
    files = [SourceFile(str(folder / str(entry.audio))) for entry in chosen]
    length = num_samples or max(len(sound) for sound in (_decode(file, rate, []) for file in files))
    shards: list[dict[str, Tensor]] = []
    places: list[int] = []
    skipped: list[str] = []
    for first in range(0, len(files), SHARD):
        part = files[first : first + SHARD]
        stamps = [file.stamp().removeprefix(str(folder)) for file in part]  # the same where the folder was moved
        path = folder / WAVEFORMS / f"{digest([rate, length, stamps], size=8)}.safetensors"
        shards.append(load_or_compute(path, partial(_decode_all, part, rate, length)))
        places += [first + place for place in shards[-1]["places"].tolist()]
    for place in sorted({*range(len(files))} - {*places}):
        _decode(files[place], rate, skipped)
    for line in skipped:
        logger.warning("skipped %s", line)
    if not places:
        raise InputError(f"{folder}: none of {len(chosen)} clips of split {split!r} can be read; build it again")
    kept = [chosen[place] for place in places]
    class_names = tuple(sorted({entry.label for entry in everything}))
    return Clips(
        waveforms=Rows([shard["values"] for shard in shards]),  # (n, S)
        labels=torch.tensor([class_names.index(entry.label) for entry in kept]),  # (n,)
        class_names=class_names,
        speakers=[entry.speaker or "" for entry in kept],
        skipped=skipped,
        pitches=numbers_or_nan(entry.pitch for entry in kept),
        rates=numbers_or_nan(entry.rate for entry in kept),
    )


def _decode_all(files: Sequence[SourceFile], sample_rate: int, length: int) -> dict[str, Tensor]:
    """{"values" (n, length) int16, "places" (n,) among the files} of those that can be read."""
    values, places = [torch.zeros(0, length, dtype=torch.int16)], []
    for place, file in enumerate(files):
        sound = _decode(file, sample_rate, [])
        if len(sound):
            values.append(to_int16(fit_length(as_float(sound), length))[None])
            places.append(place)
    return {"values": torch.cat(values), "places": torch.tensor(places, dtype=torch.int64)}


def _decode(file: SourceFile, sample_rate: int, skipped: list[str]) -> Tensor:
    """(S,) int16; of one that cannot be read, nothing, and `skipped` has a line more."""
    try:
        return to_int16(read_audio(file.path, sample_rate))
    except InputError as error:
        skipped.append(str(error))
        return torch.zeros(0, dtype=torch.int16)


def numbers_or_nan(values: Iterable[float | None]) -> Tensor:
    """(n,) float32, NaN for None."""
    return torch.tensor([math.nan if value is None else float(value) for value in values])
