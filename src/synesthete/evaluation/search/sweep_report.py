"""What a sweep found: one contact sheet, one table with the best marked, a heat map for each figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.metric import Metric, interval, metric
from synesthete.evaluation.reporting.figures import COLOURS, draw_matrix, to_png
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, finite, number
from synesthete.evaluation.search.space import Cell, unique

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.search.sweep import Made, SweepFolder

    Thumbnails = Callable[[Tensor], Sequence[Image.Image]]

CONTACT_SHEET, TABLE = "contact_sheet.png", "table.csv"
MARK = " ★"
NAMES = {
    "accuracy": "class accuracy",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "diversity": "diversity",
    "seconds_per_picture": "seconds per picture",
}
LOWER = ("kid", "seconds_per_picture")
MAX_GRIDS = 6
GRID_COLUMNS = 24  # pictures of a class in a grid
MOSAIC_SIDE = 4  # pictures along the sides of a mosaic
DARK = 0.6  # of a colour map; from there on text is white


@dataclass(frozen=True)
class Findings:
    """The cells of a sweep, at least one, all of as many pictures, and what they are read against.

    real: `Scorer.reference` of as many real pictures, and the `kid_floor` of as many as in a cell. features: their
    name. notes: what was left out.
    """

    cells: Sequence[Made]
    real: dict[str, float]
    num_classes: int
    features: str
    notes: Sequence[str] = ()

    def merit(self, name: str, value: float) -> float:
        """How good a figure is, higher is better: diversity is best where it is that of real pictures."""
        if name == "diversity":
            return -abs(value - self.real["diversity"])
        return -value if name in LOWER else value

    def best(self, name: str) -> Made | None:
        """The cell with the best figure, of equal ones the fastest; None where no cell has it."""
        known = [made for made in self.cells if math.isfinite(self.merit(name, made.figures[name]))]
        ranks = [(self.merit(name, made.figures[name]), -made.figures["seconds_per_picture"]) for made in known]
        return known[ranks.index(max(ranks))] if known else None

    def quickest(self) -> Made | None:
        """The fastest cell whose KID is no more than its floor above the lowest: better ones are so by luck."""
        if (lowest := self.best("kid")) is None:
            return None
        limit = lowest.figures["kid"] + lowest.figures["kid_floor"]
        equal = [made for made in self.cells if made.figures["kid"] <= limit]
        return min(equal, key=lambda made: made.figures["seconds_per_picture"], default=lowest)

    def named(self, name: str) -> str:
        """A figure's name with all that it depends on."""
        if name == "seconds_per_picture":
            return NAMES[name]
        evaluated = "" if name == "accuracy" else f"{self.features}, "
        return f"{NAMES[name]} ({evaluated}n = {self.cells[0].num})"


def sweep_report(place: SweepFolder, found: Findings, facts: dict[str, Any]) -> Report:
    """The report on a sweep's folder."""
    cells = found.cells
    content = (place.path / CONTACT_SHEET).read_bytes()
    sheet = Medium("contact sheet", content, f"every cell, the same noise; {CONTACT_SHEET}")
    maps = [Medium(f"map {name}", to_png(map_figure(found, name)), found.named(name)) for name in NAMES]
    foreign = sorted({made.cell.schedule for made in cells if not made.cell.trained})
    marked = f" The model was not trained with: {', '.join(foreign)}." if foreign else ""
    sections = [
        Section("All cells at a glance", _GLANCE + marked, [sheet]),
        Section("Figures of every cell", _FIGURES, [figures_table(found)]),
        Section("Maps", "The darker the better, the best framed. An empty place was not made.", maps),
        Section("The best cells' pictures", "Rows are classes, columns seeds.", [best_grids(place, found)]),
    ]
    if found.notes:
        sections.append(Section("Left out", "", [Table(("what and why",), [(note,) for note in found.notes])]))
    data = {"cells": [{**vars(made.cell), **made.figures, "num": made.num, "device": made.device} for made in cells]}
    return Report("Ways of sampling", sweep_summary(found), facts, metrics(found), sections, finite(data))


def sweep_summary(found: Findings) -> str:
    """What was found, in a few sentences."""
    lines = [f"{len(found.cells)} cells."]
    for name, words in (("kid", "Lowest KID"), ("accuracy", "Highest accuracy")):
        if made := found.best(name):
            lines.append(f"{words}: {number(made.figures[name])}, {made.cell.title}.")
    if (made := found.quickest()) and made is not found.best("kid"):
        seconds = number(made.figures["seconds_per_picture"])
        lines.append(f"As good in KID as can be told apart, and faster: {made.cell.title} ({seconds} s a picture).")
    if len({made.device for made in found.cells}) > 1:
        lines.append("The cells were timed on different devices, so their seconds cannot be compared.")
    lines.append("The best of many is best by luck as well: `synesthete tune` measures a winner anew.")
    return " ".join(lines)


def metrics(found: Findings) -> list[Metric]:
    """The best cells' figures, each with what it is to be read against."""
    result = []
    if made := found.best("accuracy"):
        value = made.figures["accuracy"]
        said: dict[str, Any] = {"what": found.named("accuracy"), "cell": made.cell.title}
        figures = value, interval(value, made.num), 1 / found.num_classes, None, found.real["accuracy"]
        result.append(metric("sweep_best", *figures, variant="accuracy", which="highest", **said))
    if made := found.best("kid"):
        said = {"what": f"{found.named('kid')}, ceiling: real against real", "cell": made.cell.title}
        value, floor = made.figures["kid"], made.figures["kid_floor"]
        result.append(metric("sweep_best", value, ceiling=floor, variant="kid", which="lowest", **said))
    return result


def figures_table(found: Findings) -> Table:
    """A row a cell, the best of every column marked, and a row of real pictures."""
    best = {name: found.merit(name, made.figures[name]) for name in NAMES if (made := found.best(name))}

    def marked(name: str, value: float) -> float | str:
        return f"{number(value)}{MARK}" if found.merit(name, value) == best.get(name) else value

    rows: list[Sequence[Any]] = []
    for made in found.cells:
        own = made.cell
        settings = [own.schedule_name, own.sampler, f"{own.guidance_scale:g}", f"{own.eta:g}", own.num_inference_steps]
        rows.append([*settings, *(marked(name, made.figures[name]) for name in NAMES)])
    real = [found.real["kid_floor"] if name == "kid" else found.real.get(name) for name in NAMES]
    rows.append(["real pictures (KID: the floor)", None, None, None, None, *real])
    return Table(["schedule", "sampler", "guidance", "eta", "steps", *map(found.named, NAMES)], rows)


def matrix(cells: Sequence[Made]) -> tuple[list[str], list[float], dict[tuple[int, int], Made]]:
    """The rows (all settings but guidance, in words), the columns (guidance scales), and the cells by place."""
    rows, columns = unique(made.cell.row for made in cells), sorted({made.cell.guidance_scale for made in cells})
    return rows, columns, {(rows.index(made.cell.row), columns.index(made.cell.guidance_scale)): made for made in cells}


def draw_contact_sheet(place: SweepFolder, cells: Sequence[Made]) -> Image.Image:
    """A mosaic of every cell: columns guidance, rows the rest."""
    rows, columns, cells_by_place = matrix(cells)
    pictures: list[list[Image.Image | None]] = [[None] * len(columns) for _ in rows]
    captions = [[""] * len(columns) for _ in rows]
    for (row, column), made in cells_by_place.items():
        with Image.open(place.place(made.cell, "mosaic"), formats=["PNG"]) as image:
            pictures[row][column] = image.convert("RGB")
        captions[row][column] = f"{number(made.figures['accuracy'])}, KID {number(made.figures['kid'])}"
    names = [f"guidance {scale:g}" for scale in columns]
    return draw_sheet(pictures, rows, names, title="Below each cell: class accuracy, KID", captions=captions)


def map_figure(found: Findings, name: str) -> Figure:
    """A figure of every cell as a heat map, the darker the better; the best is framed, a place not made is empty."""
    rows, columns, cells = matrix(found.cells)
    merits, texts, title = np.full((len(rows), len(columns)), np.nan), {}, found.named(name)
    for where, made in cells.items():
        if math.isfinite(value := made.figures[name]):
            merits[where], texts[where] = found.merit(name, value), number(value)
    low, best = np.nanmin(merits, initial=math.inf), np.nanmax(merits, initial=-math.inf)
    shades = (merits - low) / max(best - low, 1e-12)
    width = max(0.072 * max(map(len, rows)) + 0.8 * len(columns) + 0.8, 0.075 * len(title))
    figure = Figure(figsize=(width, 0.36 * len(rows) + 1.1), layout="constrained")
    axes, scales = figure.add_subplot(), [f"{scale:g}" for scale in columns]
    draw_matrix(axes, shades, texts, rows, scales, text_size=8, dark=DARK, aspect="auto")
    for row, column in zip(*np.nonzero(merits == best), strict=True):
        place = column - 0.47, row - 0.45
        axes.add_patch(Rectangle(place, 0.94, 0.9, fill=False, edgecolor=COLOURS[1], linewidth=2))
    axes.set_xlabel("guidance scale", fontsize=8)
    axes.set_title(title, fontsize=10)
    return figure


def best_grids(place: SweepFolder, found: Findings) -> Gallery:
    """The grids of the cells that are best by some figure."""
    won: dict[Cell, list[str]] = {}
    for name in NAMES:
        if made := found.best(name):
            won.setdefault(made.cell, []).append(NAMES[name])
    cards = []
    for cell, names in list(won.items())[:MAX_GRIDS]:
        grid = place.place(cell, "grid")
        medium = Medium(grid.stem, grid.read_bytes(), grid.relative_to(place.path).as_posix())
        cards.append(Card(cell.title, [medium], [f"best by {', '.join(names)}"]))
    return Gallery(cards, columns=1)


def draw_grid(
    samples: Tensor, class_names: Sequence[str], seeds: Sequence[int], title: str, draw: Thumbnails
) -> Image.Image:
    """A row for each class, columns for seeds: of each seed the first ones, GRID_COLUMNS in a row at most.

    samples: (L, S, n, ...) of L classes, S seeds and n of both. draw: a picture of each.
    """
    num = samples.shape[2]
    shown = max(1, min(num, GRID_COLUMNS // len(seeds)))
    columns = [f"{seed}" if num == 1 else f"{seed}.{i + 1}" for seed in seeds for i in range(shown)]
    rows = [list(draw(own[:, :shown].flatten(0, 1))) for own in samples]
    return draw_sheet(rows, class_names, columns, title=title)


def draw_mosaic(samples: Tensor, draw: Thumbnails = to_images) -> Image.Image:
    """The first samples of the first classes, edge to edge: (L, S, n, ...) -> at most MOSAIC_SIDE each way."""
    by_class = samples.flatten(1, 2)  # (L, S * n, ...)
    one_class = len(by_class) == 1
    chosen = by_class[0][: MOSAIC_SIDE**2] if one_class else by_class[:MOSAIC_SIDE, :MOSAIC_SIDE]
    columns = min(MOSAIC_SIDE, len(chosen)) if one_class else chosen.shape[1]
    tiles = draw(chosen if one_class else chosen.flatten(0, 1))
    width, height = tiles[0].size
    mosaic = Image.new(tiles[0].mode, (columns * width, -(-len(tiles) // columns) * height))
    for place, tile in enumerate(tiles):
        mosaic.paste(tile, (place % columns * width, place // columns * height))
    return mosaic


_GLANCE = "Columns: guidance scale (1 is off, 0 is without the condition). Rows: everything else."
_FIGURES = (
    f"{MARK.strip()} is the best of its column; of diversity, the nearest to real pictures'. In KID all classes weigh "
    "the same, and differences smaller than the floor are noise. Precision, recall and diversity of real pictures are "
    f"those of one half of them against the other. The same as comma-separated values: {TABLE}."
)
