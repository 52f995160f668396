"""Sampling as a user asks for it: a request becomes a plan of things to make, and each is made and written."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from synesthete.data.files import SourceFile, legible, list_files
from synesthete.io import digest
from synesthete.logs import DETAIL
from synesthete.tasks.results import PictureResult, Results, Sound
from synesthete.types import InputError, Progress
from synesthete.worklist import Unfinished, going_on

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.pipeline import Output, Pipeline

__all__ = ["Item", "Plan", "SampleRequest", "generate_samples", "split_commas", "write_results"]

SHEET = "contact_sheet.png"
SHEET_WIDTH, MAX_COLUMNS = 1600, 16  # pixels, and pictures, beside each other; a longer row goes on below
THUMBNAIL = 256  # pixels at most of a picture on a contact sheet
MAX_STEM = 60
LARGE = 100_000_000  # parameters of a network from which on a batch is no faster than its samples on a CPU

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleRequest:
    """What is asked of a model; a task adds fields of its own, each an option of the command line.

    model: its name, for messages and for what a file tells. out: the folder; None where nothing is to be written.
    settings: sampling settings that differ from the model's own.
    """

    model: str = ""
    out: Path | None = None
    seed: int = 0
    overwrite: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Make sure that what is asked for fits together, before anything is loaded.

        Raises:
            InputError: it does not, or a value is out of range.
        """

    @classmethod
    def own_fields(cls) -> dict[str, Any]:
        """The fields that a task adds, and what each is where nothing is asked for."""
        shared = {f.name for f in fields(SampleRequest)}
        return {f.name: f.default for f in fields(cls) if f.name not in shared}


@dataclass
class Item:
    """One thing to make. stem: of its files. key: names its draws of noise. how: what made it, for its files.

    key is what is asked for, as a label and the number of the copy, or the content that is read; never a place among
    others, so that whatever is asked for together is what it is alone.

    group: the row of the contact sheet that it stands in. raw: whatever the plan makes it of.
    """

    stem: str
    key: tuple[Any, ...]
    how: dict[str, Any] = field(default_factory=dict)
    group: str = ""
    raw: Any = None


class Plan:
    """What a request comes to with a model. folder: of the model's files.

    Attributes:
        items: to be made. inputs: files of which they are made, none of which is replaced. models: folders of what
            makes them. skipped: a line for each input that cannot be used. notes: what is to be said of the others.
            unit: what is counted. batch_size: items made at once; on a CPU always as many rows, of which the last ones
            may be repeated, since a network rounds sums otherwise in a batch of another size: so a sample is the same
            to the bit alone and among others. suffixes: of the files of each. has_sheet: whether a contact sheet is
            written.
    """

    unit: ClassVar[str] = "picture"
    suffixes: tuple[str, ...] = (".png",)
    batch_size: int = 32
    cpu_batch_size: int = 8  # small, for the sake of whoever asks for one
    has_sheet: bool = False

    def __init__(self, pipeline: Pipeline, request: Any, folder: Path | None = None) -> None:
        self.pipeline, self.request = pipeline, request
        self.on_cpu = pipeline.device.type == "cpu"
        self.is_large = sum(parameter.numel() for parameter in pipeline.denoiser.parameters()) >= LARGE
        if self.on_cpu:
            self.batch_size = 1 if self.is_large else self.cpu_batch_size
        self.items: list[Item] = []
        self.inputs: list[Path] = []
        self.models: list[Path] = [folder] if folder else []
        self.skipped: list[str] = []
        self.notes: list[str] = []

    def begin(self, progress: Progress) -> None:
        """What has to be done once before anything is made, after it is known that nothing is replaced unasked."""

    def make(self, items: Sequence[Item], progress: Progress) -> Sequence[Any]:
        """The items' results, a `Sound` or a `PictureResult` each, or None for one that was skipped."""
        raise NotImplementedError

    def unusable(self) -> InputError:
        """What is said where none of the inputs can be used."""
        many = f"not one of {len(self.skipped)} can be used; the first: " if len(self.skipped) > 1 else ""
        return InputError(f"{many}{self.skipped[0]}")

    def how(self, **own: Any) -> dict[str, Any]:
        """What a file tells: its own, then the seed, the model and the settings."""
        settings = self.pipeline.sampling_settings(**self.request.settings)
        engine = {} if self.pipeline.network is None else {"engine": self.pipeline.network.name}
        return {**own, "seed": self.request.seed, "model": Path(self.request.model).name, **settings, **engine}

    def generators(self, items: Sequence[Item]) -> list[Any]:
        """A generator of noise for each, the same whatever else is asked for."""
        from synesthete import seeding

        return [seeding.generator(self.request.seed, "sample", *item.key) for item in items]

    def rows(self, num: int, size: int) -> list[int]:
        """Which of `num` samples each row of the network's batch is, `size` rows on a CPU."""
        return [min(row, num - 1) for row in range(size if self.on_cpu else num)]

    def among_all(self, items: Sequence[Item], progress: Progress) -> Progress:
        """What counts the steps of a batch of items among those of all batches."""
        done = next(i for i, item in enumerate(self.items) if item is items[0]) // self.batch_size
        batches = -(-len(self.items) // self.batch_size)
        return lambda what, now, total: progress(what, done * total + now, batches * total)

    def sampled(self, raw: Any, generators: Sequence[Any]) -> Output:
        """What the pipeline makes of conditions (n, ...), at most `batch_size`, each with a generator of its own."""
        from synesthete import seeding

        num = len(generators)
        rows = self.rows(num, self.batch_size)
        spare = [seeding.generator(0, "spare") for _ in rows[num:]]
        output = self.pipeline(raw[rows], generators=[*generators, *spare], **self.request.settings)
        return replace(output, signal=output.signal[:num], x_0=output.x_0[:num])

    def results(
        self, progress: Progress, kept: Mapping[str, Recorded | None] | None = None
    ) -> Iterator[tuple[Item, Any]]:
        """Each item with what is made of it, or None where it cannot be used.

        kept: what was told of those that are made already, by stem, or None where one could not be used. A batch is
            made again whole unless all of it is kept: in another batch sums are rounded otherwise.
        """
        self.begin(progress)
        kept, num_made = kept or {}, 0
        for first in range(0, len(self.items), self.batch_size):
            batch = self.items[first : first + self.batch_size]
            if all(item.stem in kept for item in batch):
                found = [kept[item.stem] or self.make([item], progress)[0] for item in batch]  # says why it cannot
            else:
                found = [*self.make(batch, progress)]
            for item, made in zip(batch, found, strict=True):
                num_made += made is not None
                yield item, made
            progress(f"{self.unit}s", min(first + self.batch_size, len(self.items)), len(self.items))
        if self.skipped and not num_made:
            raise self.unusable()


@dataclass(frozen=True)
class Sampled:
    """What was written. values: for programs. text: for people."""

    values: dict[str, Any]
    text: str


def generate_samples(plan: Plan) -> Results:
    """What a plan makes, in memory.

    Raises:
        InputError: not one input that can be used.
    """
    return Results(made for _, made in plan.results(lambda *_: None) if made is not None)


@dataclass(frozen=True)
class Recorded:
    """What is told of a thing that was made. num: pictures or sounds in it. seconds: of sound. said: its words."""

    num: int
    seconds: float = 0.0
    said: dict[str, Any] | None = None
    line: str = ""

    @staticmethod
    def of(item: Item, made: Sound | PictureResult) -> Recorded:
        """What is told of what was made of an item."""
        if not isinstance(made, Sound):
            return Recorded(made.num)
        voice = {"voice": made.how["voice"]} if "voice" in made.how else {}
        if made.heard is None and not voice:
            return Recorded(made.num, made.seconds)
        said = {"picture": legible(str(item.raw)), **voice, **(asdict(made.heard) if made.heard is not None else {})}
        line = legible(Path(str(item.raw)).name) + (f" in the voice {voice['voice']}" if voice else "")
        return Recorded(made.num, made.seconds, said, f"{line}: {made.heard}" if made.heard is not None else line)


def write_results(plan: Plan, progress: Progress | None = None) -> Sampled:
    """Make and write what a plan asks for, as it is made: what is done is kept. A killed one can be called again.

    Raises:
        InputError: files that are there already, not one input that can be used, or another process at work there.
    """
    out: Path = plan.request.out
    sheet = out / SHEET if plan.has_sheet else None
    targets = [out / f"{item.stem}{suffix}" for item in plan.items for suffix in plan.suffixes]
    paths = [*targets, *([sheet] if sheet else [])]
    check_unwritten(paths, plan.inputs, overwrite=True)  # of what is never replaced
    with going_on(
        out, name_request(plan), paths, lambda: check_unwritten(paths, plan.inputs, plan.request.overwrite)
    ) as left:
        return write_each(plan, out, sheet, progress, left)


def name_request(plan: Plan) -> str:
    """A name for all that decides what is written: what is asked for, of which files, with which model."""
    left_out = ("out", "overwrite", "inputs")
    asked = {name: str(value) for name, value in vars(plan.request).items() if name not in left_out}
    files = [*plan.inputs, *(path for folder in plan.models for path in list_files(folder, (".json", ".safetensors")))]
    stamps = [SourceFile(str(path.resolve())).stamp() for path in files]
    return digest(type(plan).__name__, plan.how(), asked, stamps, [[one.stem, one.key, one.how] for one in plan.items])


def write_each(plan: Plan, out: Path, sheet: Path | None, progress: Progress | None, left: Unfinished) -> Sampled:
    """Make and write what a plan asks for, one after the other, but for what is left whole of the same request."""
    from synesthete.data.picture import read_picture  # with Pillow

    started = time.perf_counter()
    rows: dict[str, list[Image.Image]] = {}
    written: list[str] = []
    said: list[dict[str, Any]] = []
    lines: list[str] = []
    num, seconds_made, seconds_of_sound = 0, 0.0, 0.0  # of this call, and of all
    found = {item.stem: left.recall(item.stem) for item in plan.items}
    kept = {stem: Recorded(**told) if told else None for stem, told in found.items() if told is not None}
    if kept:
        logger.log(DETAIL, "%s: goes on, %d of %d are made already", out, len(kept), len(plan.items))
    for item, made in plan.results(progress or (lambda *_: None), kept):
        paths = [out / f"{item.stem}{suffix}" for suffix in plan.suffixes]
        if made is None:
            left.record(item.stem, [], {})
            continue
        if isinstance(made, Recorded):
            told = made
        else:
            for path in paths:
                made.save(path)
            told = Recorded.of(item, made)
            left.record(item.stem, paths, asdict(told))
            num += told.num
            seconds_made += told.seconds
        written.append(str(paths[0]))
        if sheet:
            rows.setdefault(item.group, []).append(small := read_picture(out / f"{item.stem}.png"))
            if plan.unit != "sound":  # a spectrogram stays as it is
                small.thumbnail((THUMBNAIL, THUMBNAIL))
        seconds_of_sound += told.seconds
        if told.said is not None:
            said.append(told.said)
            lines.append(told.line)
    seconds = time.perf_counter() - started
    values: dict[str, Any] = {"written": written}
    if ".gif" in plan.suffixes:
        values["gifs"] = [str(Path(path).with_suffix(".gif")) for path in written]
    if sheet:
        write_sheet(sheet, rows)
        values["contact_sheet"] = str(sheet)
    values |= {"said": said, "skipped": plan.skipped, "notes": plan.notes, "seconds": round(seconds, 3)}
    values[f"{plan.unit}s_per_second"] = rate = round(num / seconds, 2)
    if seconds_of_sound:
        values["seconds_of_sound"] = round(seconds_of_sound, 3)
        values["sound_per_second"] = round(seconds_made / seconds, 3)
    all_of_them = f"; all of them: {sheet}" if sheet else ""
    num_files = len(written) * len(plan.suffixes) + bool(sheet)
    lines.append(f"{out}: {num_files} file{'s' * (num_files > 1)}, {rate} {plan.unit}s a second{all_of_them}")
    lines += [f"note: {note}" for note in plan.notes]
    if plan.skipped:
        lines.append("\n  ".join([f"{len(plan.skipped)} skipped:", *plan.skipped]))
    return Sampled(values, "\n".join(lines))


def check_unwritten(paths: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Make sure that no input is replaced, no other file unasked, and none is written twice."""
    if own := {path.resolve() for path in inputs} & {path.resolve() for path in paths}:
        raise InputError(f"{legible(str(min(own)))}: would be replaced by what is made of it; give another --out")
    twice = [path for path, count in Counter(str(path).casefold() for path in paths).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: two things would be written there; rename one of them")
    if not overwrite and (there := [path for path in paths if path.exists()]):
        count = f"{len(there)} of {len(paths)} files"
        raise InputError(f"{there[0]}: there already ({count}); give --overwrite or another --out")


def find_files(path: Path, kind: str, listed: Callable[[Path], list[Path]]) -> list[Path]:
    """The files of a kind, such as pictures, that a path names or holds."""
    if not path.exists():
        raise InputError(f"{legible(str(path))}: no such file; give a {kind} or a folder of {kind}s")
    if not (found := listed(path)):
        raise InputError(f"{legible(str(path))}: no {kind}s in it; give another folder")
    return found


def find_inputs(
    given: Sequence[Any], kind: str, listed: Callable[[Path], list[Path]]
) -> tuple[list[Any], list[Path], list[str]]:
    """What is given, files in place of paths, these files alone, and a stem for each of all. As `find_files`."""
    found = [one for own in given for one in (find_files(own, kind, listed) if isinstance(own, Path) else [own])]
    files = [one for one in found if isinstance(one, Path)]
    named = map(legible, name_stems(files, [one for one in given if isinstance(one, Path)]))
    return found, files, [next(named) if isinstance(one, Path) else f"{i:03d}" for i, one in enumerate(found)]


def name_stems(found: Sequence[Path], inputs: Sequence[Path]) -> list[str]:
    """A stem for what is made of each file; FOLDER/STEM where several have the same."""
    counts = Counter(path.stem for path in found)
    stems = []
    for path in found:
        parent = next((p for p in inputs if p.is_dir() and p in path.parents), path.parent)
        folder = path.parent.relative_to(parent) if counts[path.stem] > 1 else Path()
        stems.append(str(folder / path.stem))
    return stems


def split_commas(values: Iterable[str] | None, known: Sequence[str] = ()) -> list[str]:
    """The values, with those that have commas taken apart unless they are `known` as they stand."""
    found: list[str] = []
    for value in values or ():
        found += [value] if value in known else [part.strip() for part in value.split(",") if part.strip()]
    return found


def file_safe(names: Iterable[str]) -> list[str]:
    """The names as stems of files, no two alike on any file system."""
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w-]+", "_", name).strip("_")[:MAX_STEM] or "sample"
        stem, again = plain, 2
        while stem.casefold() in taken:
            stem, again = f"{plain}-{again}", again + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def write_sheet(path: Path, groups: Mapping[str, Sequence[Image.Image]]) -> None:
    """A contact sheet, a row for each group; a longer one goes on below, and only its first row has its name."""
    from synesthete.data.picture import write_picture
    from synesthete.evaluation.reporting.media import draw_sheet

    rows, names = [], []
    for name, pictures in groups.items():
        columns = max(1, min(MAX_COLUMNS, SHEET_WIDTH // pictures[0].width))
        for first in range(0, len(pictures), columns):
            rows.append(pictures[first : first + columns])
            names.append("" if first else name)
    write_picture(path, draw_sheet(rows, names))
