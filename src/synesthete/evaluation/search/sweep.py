"""A sweep: the same classes and the same noise through many ways of sampling, each one evaluated, timed and kept."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.data.picture import write_picture
from synesthete.evaluation.reporting.media import encode_png
from synesthete.evaluation.reporting.report import device_name, duration, finite, number, provenance, write_report
from synesthete.evaluation.search import sweep_report as page
from synesthete.evaluation.search.scoring import FIGURES, Scorer, read_figures
from synesthete.evaluation.search.space import Cell, SweepPlan
from synesthete.executors import divide_ahead
from synesthete.io import digest, locked, read_json, write_file
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from PIL import Image

IDENTITY, REPORT = "sweep.json", "report"
# What differs between two sweeps -> how the refusal says it.
WORDS = {"model": "another model", "classifier": "another classifier", "real": "other held-out pictures"}


@dataclass(frozen=True)
class Made:
    """A cell that is done. figures: by the names in FIGURES, NaN where there is none. device: that it was timed on."""

    cell: Cell
    figures: dict[str, float]
    num: int
    device: str


class SweepFolder:
    """The folder of one sweep: OUT/{schedule}/ holds a grid, a mosaic and the figures of every cell that is done.

    identity: the model, and all that must be the same for two cells to be compared, or the folder is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: a file; choose another --out")
        if not (path / IDENTITY).is_file():
            if path.is_dir() and any(entry.name != ".lock" for entry in path.iterdir()):
                raise InputError(f"{path}: holds something that is no sweep; choose another --out")
            write_file(path / IDENTITY, json.dumps(identity, indent=1) + "\n")
            return
        if (there := json_or_none(path / IDENTITY)) is None:
            raise InputError(f"{path / IDENTITY}: damaged; remove the folder, or choose another --out")
        for name, value in identity.items():
            if there.get(name) != value:
                shown = [", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in (there.get(name), value)]
                old, new = (text if len(text) <= 60 else f"{text[:57]}..." for text in shown)
                words = WORDS.get(name) or f"other {name} ({old}; now {new})"
                raise InputError(f"{path}: a sweep of {words}; choose another --out")

    def place(self, cell: Cell, kind: str) -> Path:
        """Where a cell's grid, mosaic or figures lie."""
        return self.path / cell.schedule / f"{kind}_{cell.stem}.{'json' if kind == 'cell' else 'png'}"

    def write(self, made: Made, grid: Image.Image, mosaic: Image.Image) -> None:
        """Keep a finished cell, each file whole; its figures come last, and say that it is done."""
        write_file(self.place(made.cell, "grid"), encode_png(grid))
        write_file(self.place(made.cell, "mosaic"), encode_png(mosaic))
        write_file(self.place(made.cell, "cell"), json.dumps(finite(asdict(made)), indent=1) + "\n")

    def all(self) -> list[Made]:
        """Every cell that is done, in order: schedules that the model was trained with first."""
        found = []
        for path in self.path.glob("*/cell_*.json"):
            values, figures = json_or_none(path), read_figures(path)
            with contextlib.suppress(TypeError, KeyError, ValueError):  # damaged: made again
                cell = Cell(**values["cell"])
                if figures and all(self.place(cell, kind).is_file() for kind in ("grid", "mosaic")):
                    found.append(Made(cell, figures, int(values["num"]), str(values["device"])))

        ranks = attrgetter("schedule", "sampler", "eta", "num_inference_steps", "guidance_scale")
        return sorted(found, key=lambda made: (not made.cell.trained, *ranks(made.cell)))

    def write_table(self, cells: Sequence[Made]) -> None:
        """All figures as comma-separated values; an empty field where there is none."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        settings = ("schedule", "trained", "sampler", "guidance_scale", "eta", "num_inference_steps")
        table.writerow([*settings, *FIGURES, "num", "device", "grid"])
        for made in cells:
            figures = ["" if math.isnan(made.figures[name]) else f"{made.figures[name]:.6g}" for name in FIGURES]
            grid = self.place(made.cell, "grid").relative_to(self.path).as_posix()
            table.writerow([*(getattr(made.cell, key) for key in settings), *figures, made.num, made.device, grid])
        write_file(self.path / page.TABLE, text.getvalue())


def json_or_none(path: Path) -> Any:
    """The file's content; None where it is absent or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class SweepSamples:
    """What every cell makes: `num` pictures of each class at each seed, from the same noise in all cells."""

    labels: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    num: int = 24

    def __len__(self) -> int:
        return len(self.labels) * len(self.seeds) * self.num

    def all_labels(self) -> Tensor:
        """(n,) int64, one class after the other."""
        return torch.tensor(self.labels).repeat_interleave(len(self.seeds) * self.num)

    def all_seeds(self) -> list[int]:
        """The seed of each."""
        return [seed for _ in self.labels for seed in self.seeds for _ in range(self.num)]

    def arranged(self, pictures: Tensor) -> Tensor:
        """Samples (n, ...) in that order -> (classes, seeds, num, ...)."""
        return pictures.unflatten(0, (len(self.labels), len(self.seeds), self.num))


def run_sweep(
    scorer: Scorer,
    plan: SweepPlan,
    samples: SweepSamples,
    folder: Path,
    *,
    model: str = "",
    progress: Progress | None = None,
) -> list[Made]:
    """Make every cell of the plan that `folder` does not hold yet, then the table, the contact sheet and the report.

    Each cell is written as soon as it is done: what stops the sweep costs the cell that it stops. Returns all cells
    that the folder holds, of earlier calls as well. model: how the report calls it. progress(what, done, total); a
    total of 0 says `what` as a line of its own.
    """
    start, report, basis = datetime.now(UTC), progress or (lambda *_: None), scorer.basis
    if not len(samples) or not plan.cells:
        raise InputError("a sweep of no pictures; give at least one label, one seed and --num 1")
    with locked(folder):
        place = SweepFolder(folder, identity_of(scorer, samples, plan.changes))
        for note in plan.notes:
            report(note, 0, 0)
        make_cells(scorer, plan, samples, place, report)
        cells, labels = place.all(), samples.all_labels()
        place.write_table(cells)
        write_picture(folder / page.CONTACT_SHEET, page.draw_contact_sheet(place, cells))
        real = scorer.reference(labels) | {"kid_floor": scorer.kid_floor(labels)}
        found = page.Findings(cells, real, len(basis.class_names), basis.features.name, plan.notes)
        seeds = f"seeds {', '.join(map(str, samples.seeds))}"
        facts = provenance(scorer.pipeline, start, model) | {
            "pictures in a cell": f"{len(samples)}: {len(samples.labels)} classes, {seeds}, {samples.num} of both",
            "features": basis.features.name,
            "changed in every cell": ", ".join(f"{key} {value}" for key, value in plan.changes.items()) or "nothing",
        }
        write_report(page.sweep_report(place, found, facts), folder / REPORT)
    return cells


def make_cells(scorer: Scorer, plan: SweepPlan, samples: SweepSamples, place: SweepFolder, report: Progress) -> None:
    """Make and keep the cells that are not there; says how many they are and, after the first, how long they take."""
    there = {made.cell for made in place.all()}
    todo = [cell for cell in plan.cells if cell not in there]
    num, kept = len(plan.cells), len(plan.cells) - len(todo)
    report(f"{num} cells of {len(samples)} pictures{f', {kept} of them there already' if kept else ''}", 0, 0)
    make = partial(make_cell, scorer, plan, samples, place)
    if todo:
        scorer.kid_floor(samples.all_labels())  # looks at the real pictures, once: no cell's doing
        jobs = {place.place(cell, "cell"): cell for cell in todo}
        divide_ahead(make, jobs, "network", report=lambda done, _: report("cells", kept + done - 1, num))
        there = {made.cell for made in place.all()}
        todo = [cell for cell in todo if cell not in there]
    for done, cell in enumerate(todo, num - len(todo)):
        report("cells", done, num)
        started = time.perf_counter()
        made = make(cell)
        if done == kept and len(todo) > 1:
            sampling = made.figures["seconds_per_picture"] * made.num
            rest = sum(plan.cells[other] for other in todo[1:]) / plan.cells[cell]
            left = sampling * rest + (time.perf_counter() - started - sampling) * (len(todo) - 1)
            report(f"about {duration(left)} for the {len(todo) - 1} cells left", 0, 0)
    report("cells", num, num)


def make_cell(scorer: Scorer, plan: SweepPlan, samples: SweepSamples, place: SweepFolder, cell: Cell) -> Made:
    """Make and keep a cell."""
    labels, names, draw = samples.all_labels(), scorer.basis.class_names, scorer.basis.thumbnails
    settings, walk = {**plan.changes, **cell.settings()}, plan.pipelines[cell.schedule]
    score = scorer.score(settings, labels, samples.all_seeds(), pipeline=walk)
    made = Made(cell, score.figures(), len(labels), device_name(scorer.pipeline.device))
    pictures = samples.arranged(score.samples)
    rows = [names[label] if scorer.pipeline.is_conditional else "unconditional" for label in samples.labels]
    kid = f"KID {number(score.kid)} (floor {number(score.kid_floor)})"
    title = f"{cell.title}: accuracy {number(score.accuracy)}, {kid}, n = {len(labels)}"
    grid = page.draw_grid(pictures, rows, samples.seeds, title, draw)
    place.write(made, grid, page.draw_mosaic(pictures, draw))
    return made


def identity_of(scorer: Scorer, samples: SweepSamples, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All that must be the same for two cells to be compared."""
    pipeline, basis = scorer.pipeline, scorer.basis
    own = pipeline.sampling_settings(**changes)
    swept = ("sampler", "guidance_scale", "eta", "num_inference_steps")
    real = repr(tuple(basis.samples.shape)).encode() + basis.labels.numpy().tobytes()
    model = digest(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process.settings())
    found: dict[str, Any] = {"model": model, "classifier": digest(basis.classifier_content), "real": digest(real)}
    found |= {"features": basis.features.name, "labels": [basis.class_names[label] for label in samples.labels]}
    sampling = [f"{key}={value}" for key, value in own.items() if key not in swept]
    return found | {"seeds": list(samples.seeds), "num": samples.num, "sampling": sampling}
