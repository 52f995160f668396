"""Sampling as a user asks for it: a request becomes a plan of things to make, and each is made and written."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from synesthete.data.files import legible
from synesthete.io import digest, going_on
from synesthete.tasks.results import Results, Sound
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from PIL import Image

    from synesthete.pipeline import Pipeline
    from synesthete.tasks.results import PictureResult
    from synesthete.types import Progress

SHEET = "contact_sheet.png"
SHEET_WIDTH, MAX_COLUMNS = 1600, 16  # pixels, and pictures, beside each other; a longer row goes on below
THUMBNAIL = 256  # pixels at most of a picture on a contact sheet
MAX_STEM = 60


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
        items: to be made. inputs: files of which they are made, none of which is replaced. skipped: a line for each
            input that cannot be used. notes: what is to be said of the others. unit: what is counted. batch_size: items
            made at once. suffixes: of the files of each. has_sheet: whether a contact sheet is written.
    """

    unit: ClassVar[str] = "picture"
    suffixes: tuple[str, ...] = (".png",)
    batch_size: int = 32
    has_sheet: bool = False

    def __init__(self, pipeline: Pipeline, request: Any, folder: Path | None = None) -> None:
        self.pipeline, self.request = pipeline, request
        self.items: list[Item] = []
        self.inputs: list[Path] = []
        self.skipped: list[str] = []
        self.notes: list[str] = []

    def begin(self, progress: Progress) -> None:
        """What has to be done once before anything is made, after it is known that nothing is replaced unasked."""

    def make(self, items: Sequence[Item], progress: Progress) -> Sequence[Any]:
        """The items' results, a `Sound` or a `PictureResult` each, or None for one that was skipped."""
        raise NotImplementedError

    def how(self, **own: Any) -> dict[str, Any]:
        """What a file tells: its own, then the seed, the model and the settings."""
        settings = self.pipeline.sampling_settings(**self.request.settings)
        return {**own, "seed": self.request.seed, "model": Path(self.request.model).name, **settings}

    def generators(self, items: Sequence[Item]) -> list[Any]:
        """A generator of noise for each, the same whatever else is asked for."""
        from synesthete import seeding

        return [seeding.generator(self.request.seed, "sample", *item.key) for item in items]

    def results(self, progress: Progress) -> Iterator[tuple[Item, Any]]:
        """Each item with what is made of it; those that cannot be used are left out.

        Raises:
            InputError: not one input that can be used.
        """
        self.begin(progress)
        num_made = 0
        for first in range(0, len(self.items), self.batch_size):
            batch = self.items[first : first + self.batch_size]
            for item, made in zip(batch, self.make(batch, progress), strict=True):
                if made is not None:
                    num_made += 1
                    yield item, made
            progress(f"{self.unit}s", min(first + self.batch_size, len(self.items)), len(self.items))
        if self.skipped and not num_made:
            many = f"not one of {len(self.skipped)} can be used; the first: " if len(self.skipped) > 1 else ""
            raise InputError(f"{many}{self.skipped[0]}")


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
    return Results(made for _, made in plan.results(lambda *_: None))


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
    request = digest(type(plan).__name__, plan.how(), [[item.stem, repr(item.key), item.how] for item in plan.items])
    with going_on(out, request, paths, lambda: check_unwritten(paths, plan.inputs, plan.request.overwrite)):
        return write_each(plan, out, sheet, progress)


def write_each(plan: Plan, out: Path, sheet: Path | None, progress: Progress | None) -> Sampled:
    """Make and write what a plan asks for, one after the other."""
    started = time.perf_counter()
    rows: dict[str, list[Image.Image]] = {}
    written: list[str] = []
    said: list[dict[str, Any]] = []
    lines: list[str] = []
    num, seconds_of_sound = 0, 0.0
    for item, made in plan.results(progress or (lambda *_: None)):
        for suffix in plan.suffixes:
            made.save(out / f"{item.stem}{suffix}")
        written.append(str(out / f"{item.stem}{plan.suffixes[0]}"))
        num += made.num
        if sheet:
            rows.setdefault(item.group, []).append(thumbnail(made))
        if isinstance(made, Sound):
            seconds_of_sound += made.seconds
            told = {"voice": made.how["voice"]} if "voice" in made.how else {}
            if made.heard is not None or told:
                verdict = {} if made.heard is None else asdict(made.heard)
                said.append({"picture": legible(str(item.raw)), **told, **verdict})
                voice = f" in the voice {told['voice']}" if told else ""
                heard = f": {made.heard}" if made.heard is not None else ""
                lines.append(f"{legible(Path(str(item.raw)).name)}{voice}{heard}")
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
        values["sound_per_second"] = round(seconds_of_sound / seconds, 3)
    all_of_them = f"; all of them: {sheet}" if sheet else ""
    num_files = len(written) * len(plan.suffixes) + bool(sheet)
    lines.append(f"{out}: {num_files} file{'s' * (num_files > 1)}, {rate} {plan.unit}s a second{all_of_them}")
    lines += [f"note: {note}" for note in plan.notes]
    if plan.skipped:
        lines.append("\n  ".join([f"{len(plan.skipped)} skipped:", *plan.skipped]))
    return Sampled(values, "\n".join(lines))


def check_unwritten(paths: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Make sure that no input is replaced, no other file unasked, and none is written twice.

    Raises:
        InputError: one that is there already, or two things for one place.
    """
    if own := {path.resolve() for path in inputs} & {path.resolve() for path in paths}:
        raise InputError(f"{min(own)}: would be replaced by what is made of it; give another --out")
    twice = [path for path, count in Counter(str(path).casefold() for path in paths).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: two things would be written there; rename one of them")
    if not overwrite and (there := [path for path in paths if path.exists()]):
        count = f"{len(there)} of {len(paths)} files"
        raise InputError(f"{there[0]}: there already ({count}); give --overwrite or another --out")


def find_files(path: Path, kind: str, listed: Callable[[Path], list[Path]]) -> list[Path]:
    """The files of a kind, such as pictures, that a path names or holds.

    Raises:
        InputError: no such file, or a folder without any.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give a {kind} or a folder of {kind}s")
    if not (found := listed(path)):
        raise InputError(f"{path}: no {kind}s in it; give another folder")
    return found


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


def thumbnail(made: Sound | PictureResult) -> Image.Image:
    """Its picture, no larger than it needs to be on a sheet; a spectrogram as it is."""
    if isinstance(made, Sound):
        return made.picture
    small = made.image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


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
