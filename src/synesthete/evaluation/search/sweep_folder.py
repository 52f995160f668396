"""What a sweep leaves in its folder: the cells that are done, whatever stopped the rest, and whose they are."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.reporting.media import encode_png
from synesthete.evaluation.reporting.report import finite
from synesthete.evaluation.search.grid import Cell
from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

IDENTITY, TABLE, CONTACT_SHEET, REPORT = "sweep.json", "table.csv", "contact_sheet.png", "report"
COLUMNS = ("accuracy", "kid", "kid_floor", "precision", "recall", "diversity", "seconds_per_picture")
# What differs between two sweeps -> how the refusal says it.
WORDS = {"model": "another model", "classifier": "another classifier", "real": "other held-out pictures"}


@dataclass(frozen=True)
class Made:
    """A cell that is done. figures: by the names in COLUMNS, NaN where there is none. device: that it was timed on."""

    cell: Cell
    figures: dict[str, float]
    num: int
    device: str


class SweepFolder:
    """The folder of one sweep: OUT/{schedule}/ holds a grid, a mosaic and the figures of every cell that is done.

    Args:
        path: the folder. identity: the model, and all that must be the same for two cells to be compared.

    Raises:
        InputError: a folder that holds something else, or a sweep of another identity.
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
        there = read_json(path / IDENTITY)
        if there is None:
            raise InputError(f"{path / IDENTITY}: damaged; remove the folder, or choose another --out")
        for name, value in identity.items():
            if there.get(name) != value:
                words = WORDS.get(name) or f"other {name} ({shown(there.get(name))}; now {shown(value)})"
                raise InputError(f"{path}: a sweep of {words}; choose another --out")

    def place(self, cell: Cell, kind: str) -> Path:
        """Where a cell's grid, mosaic or figures lie."""
        return self.path / cell.schedule / f"{kind}_{cell.stem}.{'json' if kind == 'cell' else 'png'}"

    def write(self, made: Made, grid: Image.Image, mosaic: Image.Image) -> None:
        """Keep a finished cell, each file whole; its figures come last, and say that it is done."""
        write_file(self.place(made.cell, "grid"), encode_png(grid))
        write_file(self.place(made.cell, "mosaic"), encode_png(mosaic))
        content = json.dumps(finite(asdict(made)), indent=1)
        write_file(self.place(made.cell, "cell"), content + "\n")

    def read(self, cell: Cell) -> Made | None:
        """A cell that is done, or None."""
        found = self._read(self.place(cell, "cell"))
        return found if found and found.cell == cell else None

    def all(self) -> list[Made]:
        """Every cell that is done, in order: schedules that the model was trained with first."""
        found = [self._read(path) for path in self.path.glob("*/cell_*.json")]
        return sorted((made for made in found if made), key=lambda made: order(made.cell))

    def _read(self, path: Path) -> Made | None:
        values = read_json(path)
        try:
            figures = {k: math.nan if v is None else float(v) for k, v in values["figures"].items()}
            made = Made(Cell(**values["cell"]), figures, int(values["num"]), str(values["device"]))
        except (TypeError, KeyError, ValueError, AttributeError):  # absent or damaged: made again
            return None
        whole = set(COLUMNS) <= figures.keys() and all(self.place(made.cell, k).is_file() for k in ("grid", "mosaic"))
        return made if whole else None

    def write_table(self, cells: Sequence[Made]) -> None:
        """All figures as comma-separated values; an empty field where there is none."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        settings = ("schedule", "trained", "sampler", "guidance_scale", "eta", "num_inference_steps")
        table.writerow([*settings, *COLUMNS, "num", "device", "grid"])
        for made in cells:
            figures = ["" if math.isnan(made.figures[name]) else f"{made.figures[name]:.6g}" for name in COLUMNS]
            grid = self.place(made.cell, "grid").relative_to(self.path).as_posix()
            table.writerow([*(getattr(made.cell, key) for key in settings), *figures, made.num, made.device, grid])
        write_file(self.path / TABLE, text.getvalue())


def order(cell: Cell) -> tuple[Any, ...]:
    """Places a cell among the others."""
    return not cell.trained, cell.schedule, cell.sampler, cell.eta, cell.num_inference_steps, cell.guidance_scale


def read_json(path: Path) -> Any:
    """The file's content; None where it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def shown(value: Any) -> str:
    """A value in an error's line."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
