"""Sampling as a user asks for it: a request becomes a plan of things to make, and each is made and written."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from synesthete.tasks.results import Results, Sound, write_files
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    settings: sampling settings that differ from the model's own. A field's metadata may name its `option`.
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
    def own_fields(cls) -> dict[str, str]:
        """The fields that a task adds, and what the command line calls each."""
        shared = {f.name for f in fields(SampleRequest)}
        return {f.name: option_of(f) for f in fields(cls) if f.name not in shared}

    def given(self) -> dict[str, Any]:
        """What was asked for beside what every task is asked, by option."""
        defaults = {f.name: f.default for f in fields(self)}
        own = self.own_fields().items()
        return {option: value for name, option in own if (value := getattr(self, name)) != defaults.get(name) and value}


def option_of(made: Any) -> str:
    """What the command line calls a field."""
    return str(made.metadata.get("option", f"--{made.name.replace('_', '-')}"))


def option(name: str, default: Any = None) -> Any:
    """A field of a request whose option has another name."""
    return field(default=default, metadata={"option": name})


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
    """What a request comes to with a model.

    Attributes:
        items: to be made. skipped: a line for each input that cannot be used. notes: what is to be said of the others.
        unit: what is counted. batch_size: items made at once. suffixes: of the files of each.
    """

    unit: ClassVar[str] = "picture"
    suffixes: tuple[str, ...] = (".png",)
    batch_size: int = 32

    def __init__(self, pipeline: Pipeline, request: Any) -> None:
        self.pipeline, self.request = pipeline, request
        self.items: list[Item] = []
        self.skipped: list[str] = []
        self.notes: list[str] = []

    @property
    def has_sheet(self) -> bool:
        """Whether a contact sheet is written."""
        return False

    def begin(self, progress: Progress) -> None:
        """What has to be done once before anything is made, after it is known that nothing is replaced unasked."""

    def make(self, items: Sequence[Item], progress: Progress) -> list[Any]:
        """The items' results, a `Sound` or a `Picture` each, or None for one that was skipped."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """All sampling settings as they are used."""
        return self.pipeline.sampling_settings(**self.request.settings)

    def how(self, **own: Any) -> dict[str, Any]:
        """What a file tells: its own, then the seed, the model and the settings."""
        return {**own, "seed": self.request.seed, "model": Path(self.request.model).name, **self.settings()}

    def generators(self, items: Sequence[Item]) -> list[Any]:
        """A generator of noise for each, the same whatever else is asked for."""
        from synesthete import seeding

        return [seeding.generator(self.request.seed, "sample", *item.key) for item in items]


@dataclass(frozen=True)
class Sampled:
    """What was written. values: for programs. text: for people."""

    values: dict[str, Any]
    text: str


def generate_samples(plan: Plan, progress: Progress | None = None) -> Results:
    """What a plan makes, in memory.

    Raises:
        InputError: not one input that can be used.
    """
    report = progress or (lambda *_: None)
    plan.begin(report)
    made = Results()
    for first in range(0, len(plan.items), plan.batch_size):
        made += [one for one in plan.make(plan.items[first : first + plan.batch_size], report) if one is not None]
    check_made(plan, len(made))
    return made


def write_results(plan: Plan, progress: Progress | None = None) -> Sampled:
    """Make and write what a plan asks for, as it is made: what is done is kept.

    Raises:
        InputError: files that are there already, or not one input that can be used.
    """
    report, request = progress or (lambda *_: None), plan.request
    out: Path = request.out
    sheet = out / SHEET if plan.has_sheet else None
    targets = [out / f"{item.stem}{suffix}" for item in plan.items for suffix in plan.suffixes]
    check_unwritten([*targets, *([sheet] if sheet else [])], request.overwrite)
    started = time.perf_counter()
    plan.begin(report)
    rows: dict[str, list[Image.Image]] = {}
    written: list[Path] = []
    results: list[Any] = []
    said: list[dict[str, Any]] = []
    lines: list[str] = []
    seconds_of_sound = 0.0
    for first in range(0, len(plan.items), plan.batch_size):
        batch = plan.items[first : first + plan.batch_size]
        for item, made in zip(batch, plan.make(batch, report), strict=True):
            if made is None:
                continue
            written.append(write_files(made, out / item.stem, plan.suffixes)[0])
            if sheet:
                rows.setdefault(item.group, []).append(thumbnail(made))
            if isinstance(made, Sound):
                seconds_of_sound += made.seconds
                if made.heard is not None:
                    source = str(item.raw)
                    said.append({"picture": source, **asdict(made.heard)})
                    lines.append(f"{Path(source).name}: {made.heard}")
            results.append(getattr(made, "num", 1))
        report(f"{plan.unit}s", min(first + plan.batch_size, len(plan.items)), len(plan.items))
    check_made(plan, len(results))
    seconds = time.perf_counter() - started
    values: dict[str, Any] = {"written": [str(path) for path in written]}
    if ".gif" in plan.suffixes:
        values["gifs"] = [str(path.with_suffix(".gif")) for path in written]
    if sheet:
        write_sheet(sheet, rows)
        values["contact_sheet"] = str(sheet)
    each = f"{plan.unit}s_per_second"
    values |= {"said": said, "skipped": plan.skipped, "notes": plan.notes, "seconds": round(seconds, 3)}
    values[each] = round(sum(results) / seconds, 2)
    if seconds_of_sound:
        values |= {
            "seconds_of_sound": round(seconds_of_sound, 3),
            "sound_per_second": round(seconds_of_sound / seconds, 3),
        }
    number = f"{len(written)} file{'s' * (len(written) > 1)}"
    lines.append(
        f"{out}: {number}, {values[each]} {plan.unit}s a second" + (f"; all of them: {sheet}" if sheet else "")
    )
    lines += [f"note: {note}" for note in plan.notes]
    if plan.skipped:
        lines.append("\n  ".join([f"{len(plan.skipped)} skipped:", *plan.skipped]))
    return Sampled(values, "\n".join(lines))


def check_made(plan: Plan, num: int) -> None:
    """Make sure that there is something.

    Raises:
        InputError: every input was skipped; why the first was.
    """
    if num or not plan.skipped:
        return
    many = f"not one of {len(plan.skipped)} can be used; the first: " if len(plan.skipped) > 1 else ""
    raise InputError(f"{many}{plan.skipped[0]}")


def check_unwritten(paths: Sequence[Path], overwrite: bool) -> None:
    """Make sure that no file is replaced unasked, nor written twice.

    Raises:
        InputError: one that is there already, or two things for one place.
    """
    twice = [path for path, count in Counter(str(path).casefold() for path in paths).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: two things would be written there; rename one of them")
    if not overwrite and (there := [path for path in paths if path.exists()]):
        count = f"{len(there)} of {len(paths)} files"
        raise InputError(f"{there[0]}: there already ({count}); give --overwrite or another --out")


def name_stems(found: Sequence[Path], inputs: Sequence[Path]) -> list[str]:
    """A stem for what is made of each file; FOLDER/STEM where several have the same."""
    counts = Counter(path.stem for path in found)
    stems = []
    for path in found:
        parent = next((p for p in inputs if p.is_dir() and p in path.parents), path.parent)
        folder = path.parent.relative_to(parent) if counts[path.stem] > 1 else Path()
        stems.append(str(folder / path.stem))
    return stems


def split_commas(values: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """The values, with those that have commas taken apart unless they are `known` as they stand."""
    found: list[str] = []
    for value in values:
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
