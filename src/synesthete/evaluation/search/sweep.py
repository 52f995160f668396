"""A sweep: the same classes and the same noise through many ways of sampling, each one evaluated and timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.picture import write_picture
from synesthete.evaluation.reporting.provenance import device_name, provenance
from synesthete.evaluation.reporting.report import number, write_report
from synesthete.evaluation.search.sweep_figures import draw_grid, draw_mosaic
from synesthete.evaluation.search.sweep_folder import CONTACT_SHEET, REPORT, Made, SweepFolder
from synesthete.evaluation.search.sweep_report import Findings, draw_contact_sheet, sweep_report
from synesthete.io import digest, locked
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.search.grid import Cell, Plan
    from synesthete.evaluation.search.scoring import Scorer
    from synesthete.types import Progress

    # progress(what, done, total); a total of 0 says `what` as a line of its own.


@dataclass(frozen=True)
class Samples:
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


def sweep(
    scorer: Scorer,
    plan: Plan,
    samples: Samples,
    folder: Path,
    *,
    model: str = "",
    command: str | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Made]:
    """Make every cell of the plan that `folder` does not hold yet, then the table, the contact sheet and the report.

    Each cell is written as soon as it is done: what stops the sweep costs the cell that it stops. Returns all cells
    that the folder holds, of earlier calls as well. model, command: how the report calls them. changes: sampling
    settings that are the same in all cells.

    Raises:
        InputError: a folder of another sweep or of something else, one that another process writes to, or no cells.
    """
    start = datetime.now(UTC)
    report = progress or (lambda *_: None)
    if not len(samples) or not plan.cells:
        raise InputError("a sweep of no pictures; give at least one label, one seed and --num 1")
    with locked(folder):
        place = SweepFolder(folder, identity(scorer, samples, changes or {}))
        for note in plan.notes:
            report(note, 0, 0)
        make_cells(scorer, plan, samples, place, changes or {}, report)
        cells = place.all()
        place.write_table(cells)
        write_picture(folder / CONTACT_SHEET, draw_contact_sheet(place, cells))
        labels = samples.all_labels()
        real = scorer.reference(labels) | {"kid_floor": scorer.kid_floor(labels)}
        found = Findings(cells, real, len(scorer.basis.class_names), scorer.basis.features.name, plan.notes)
        facts = provenance(scorer.pipeline, start, model, command) | {
            "pictures in a cell": f"{len(samples)}: {len(samples.labels)} classes, seeds "
            f"{', '.join(map(str, samples.seeds))}, {samples.num} of both",
            "features": scorer.basis.features.name,
            "changed in every cell": ", ".join(f"{key} {value}" for key, value in (changes or {}).items()) or "nothing",
        }
        write_report(sweep_report(place, found, facts), folder / REPORT)
    return cells


def make_cells(
    scorer: Scorer, plan: Plan, samples: Samples, place: SweepFolder, changes: Mapping[str, Any], report: Progress
) -> None:
    """Make and keep the cells that are not there; says how many they are and, after the first, how long they take."""
    todo = [cell for cell in plan.cells if place.read(cell) is None]
    num, kept = len(plan.cells), len(plan.cells) - len(todo)
    report(f"{num} cells of {len(samples)} pictures{f', {kept} of them there already' if kept else ''}", 0, 0)
    labels, seeds, names = samples.all_labels(), samples.all_seeds(), list(scorer.basis.class_names)
    device, draw = device_name(scorer.pipeline.device), scorer.basis.thumbnails
    for done, cell in enumerate(todo):
        report("cells", kept + done, num)
        scorer.kid_floor(labels)  # looks at the real pictures, once: no cell's doing
        started = time.perf_counter()
        walk = plan.pipelines[cell.schedule]
        score = scorer.score({**changes, **cell.settings()}, labels, seeds, pipeline=walk)
        made = Made(cell, score.figures(), score.num, device)
        pictures = samples.arranged(score.samples)
        rows = [names[label] if scorer.pipeline.is_conditional else "unconditional" for label in samples.labels]
        place.write(made, draw_grid(pictures, rows, samples.seeds, grid_title(made), draw), draw_mosaic(pictures, draw))
        if not done and len(todo) > 1:
            sampling = score.seconds_per_picture * score.num
            left = remaining(sampling, time.perf_counter() - started - sampling, cell, todo[1:])
            report(f"about {duration(left)} for the {len(todo) - 1} cells left", 0, 0)
    report("cells", num, num)


def remaining(sampling: float, evaluating: float, first: Cell, rest: list[Cell]) -> float:
    """Seconds that the other cells take if a forward of the network, and all else, takes as long as in the first."""
    return sampling / first.num_forwards * sum(cell.num_forwards for cell in rest) + evaluating * len(rest)


def grid_title(made: Made) -> str:
    """A cell in one line over its grid."""
    figures = made.figures
    kid = f"KID {number(figures['kid'])} (floor {number(figures['kid_floor'])})"
    return f"{made.cell.title}: accuracy {number(figures['accuracy'])}, {kid}, n = {made.num}"


def identity(scorer: Scorer, samples: Samples, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All that must be the same for two cells to be compared."""
    pipeline, basis = scorer.pipeline, scorer.basis
    own = pipeline.sampling_settings(**changes)
    swept = ("sampler", "guidance_scale", "eta", "num_inference_steps")
    same = {key: value for key, value in own.items() if key not in swept}
    real = repr(tuple(basis.samples.shape)).encode() + basis.labels.numpy().tobytes()
    return {
        "model": digest(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process.settings()),
        "classifier": digest(basis.classifier_content),
        "real": digest(real),
        "features": basis.features.name,
        "labels": [basis.class_names[label] for label in samples.labels],
        "seeds": list(samples.seeds),
        "num": samples.num,
        "sampling": [f"{key}={value}" for key, value in same.items()],
    }


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
