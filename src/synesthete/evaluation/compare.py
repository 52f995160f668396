"""Two or more reports side by side: their figures joined by key, with the differences and how sure they are."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from synesthete.config import build
from synesthete.evaluation.metrics.metric import METRICS, Metric
from synesthete.evaluation.reporting import report as page
from synesthete.evaluation.reporting.report import Medium, Report, Section, Table, number, spread_of
from synesthete.io import read_json
from synesthete.types import InputError

__all__ = ["Difference", "ReadReport", "Row", "comparison_report", "join", "read_report"]

REPORT = "report.json"
MOST_DRAWN = 40


@dataclass(frozen=True)
class ReadReport:
    """What was read of a report: a short name for it, where it lies, its metrics by key and its facts."""

    name: str
    path: Path
    metrics: dict[str, Metric]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A figure minus that of the first report. interval: 95%; None where one of the two has none.

    differs: whether 0 is outside the interval; None where there is none. better: by the metric's own direction.
    """

    value: float
    interval: tuple[float, float] | None
    differs: bool | None
    better: bool | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:+.3g}"
        low, high = self.interval
        verdict = {None: "differs", True: "better", False: "worse"}[self.better] if self.differs else "not sure"
        return f"{self.value:+.3g} ({low:+.3g} to {high:+.3g}): {verdict}"


@dataclass(frozen=True)
class Row:
    """A metric in every report that is compared, None where one lacks it; differences: of all but the first."""

    key: str
    metrics: tuple[Metric | None, ...]
    differences: tuple[Difference | None, ...]

    @property
    def known(self) -> Metric:
        """That of the first report that has it."""
        return next(metric for metric in self.metrics if metric)

    @property
    def title(self) -> str:
        """What it measures."""
        return without_n(self.known.title)

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """As plain values, by the names of the reports."""
        values = {name: asdict(metric) for name, metric in zip(names, self.metrics, strict=True) if metric}
        differences = {name: asdict(each) for name, each in zip(names[1:], self.differences, strict=True) if each}
        return {"key": self.key, "title": self.title, "values": values, "differences": differences}


def read_report(run: str | Path) -> ReadReport:
    """Read a report: a report.json, a folder that holds one, or a run or model that was evaluated."""
    given = Path(run).expanduser()
    places = (given, given / REPORT, given / "report" / REPORT, Path("out/report") / given.name / REPORT)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{run}: no report; give a {REPORT} or its folder, or run `synesthete evaluate {run}` first")
    try:
        content = read_json(path)
        found = [_metric(**values) for values in content["metrics"]]
        facts = dict(content.get("facts", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise InputError(f"{path}: no report of this program, or a damaged one; evaluate again") from None
    if not found or not all(metric.key for metric in found):
        raise InputError(f"{path}: no metrics with keys, as this program writes them now; evaluate again")
    # What a report is called: its run, whatever the file in it is called.
    parts = [part for part in given.parts if part not in (REPORT, "report", "/")]
    return ReadReport(parts[-1] if parts else str(given), path, {metric.key: metric for metric in found}, facts)


def _metric(value: float | None, interval: list[float | None] | None, **values: Any) -> Metric:
    """A metric as `report.json` holds it, of the types that it says; a figure that was not finite is NaN again."""
    low, high = interval or (None, None)
    known = None if low is None or high is None else (low, high)
    metric = build(Metric, value=0.0 if value is None else value, interval=known, **values)()
    return replace(metric, value=math.nan) if value is None else metric


def join(reports: Sequence[ReadReport]) -> list[Row]:
    """A row for each key that any report has, in the order of the first one, then of those after it."""
    rows = []
    for key in dict.fromkeys(key for report in reports for key in report.metrics):
        first, *others = found = tuple(report.metrics.get(key) for report in reports)
        differences = tuple(metric_difference(first, other) if first and other else None for other in others)
        rows.append(Row(key, found, differences))
    return rows


def metric_difference(first: Metric, other: Metric) -> Difference:
    """The other minus the first, with the interval of two independent estimates (Newcombe 1998, method 10).

    It holds near 0 and 1 too. Of samples of one seed, which share their noise, it is too wide rather than too narrow.
    """
    value, spread = other.value - first.value, None
    if first.interval and other.interval:
        below = math.hypot(other.value - other.interval[0], first.interval[1] - first.value)
        above = math.hypot(other.interval[1] - other.value, first.value - first.interval[0])
        spread = value - below, value + above
    differs = None if spread is None or math.isnan(value) else not spread[0] <= 0 <= spread[1]
    higher = first.higher_is_better
    better = None if higher is None or math.isnan(value) or value == 0 else (value > 0) == higher
    return Difference(value, spread, differs, better)


def without_n(title: str) -> str:
    """A metric's title without how many samples it was measured on."""
    plain = re.sub(r"(, )?n = [\d x]+( of \d+ sounds)?(, \d+ real)?", "", title)
    return plain.replace("(, ", "(").replace(" ()", "")


def comparison_report(reports: Sequence[ReadReport]) -> Report:
    """The report on two or more reports with a metric in common, the first of which the others are held against."""
    if len(reports) < 2:
        raise InputError("one report has nothing to be compared with; give two or more")
    rows, names = join(reports), [report.name for report in reports]
    names = [f"{name} [{place + 1}]" if names.count(name) > 1 else name for place, name in enumerate(names)]
    shared = [row for row in rows if any(row.differences)]
    if not shared:
        raise InputError(f"{reports[0].path} and the others have no metric in common; compare models of one kind")
    sections = [
        Section("Differences", page.SECTIONS["compare.differences"], [difference_table(shared, names)]),
        Section("Figures side by side", "", [value_table(rows, names)]),
        Section("In one picture", _PICTURE, [Medium("comparison", comparison_figure(shared, names))]),
        Section("How they were made", "", [fact_table(reports, names)]),
        *page.notes_section([note for note in map(caution, shared) if note]),
    ]
    title = f"{' against '.join(reversed(names))}" if len(names) == 2 else f"{len(names)} reports compared"
    facts = {name: str(report.path) for name, report in zip(names, reports, strict=True)}
    data = {"compared": [row.to_dict(names) for row in rows]}
    return Report(title, comparison_summary(shared, names), facts, sections=sections, data=data)


def comparison_summary(rows: Sequence[Row], names: Sequence[str]) -> str:
    """How many metrics of each report surely differ from the first's, and which way."""
    sentences = []
    for place, name in enumerate(names[1:]):
        found = [each for row in rows if (each := row.differences[place])]
        sure = Counter(each.better for each in found if each.differs)
        rest = Counter(each.differs for each in found)
        sentences.append(
            f"{name} against {names[0]}: {sure[True]} metrics better and {sure[False]} worse beyond their 95% "
            f"intervals, {sure[None]} other, {rest[False]} no different beyond them, {rest[None]} without an interval."
        )
    return " ".join(sentences)


def caution(row: Row) -> str:
    """A warning about a figure whose expectation depends on the number of samples, where that differs."""
    kind, titles = METRICS.get(row.key), {metric.title for metric in row.metrics if metric}
    if kind is None or not kind.depends_on_num or len(titles) < 2:
        return ""
    return f"{row.title}: depends on the number of samples or their features, which differ: {'; '.join(sorted(titles))}"


def difference_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """The differences, a row a metric."""
    columns = ("metric", names[0], *(f"{name} minus {names[0]}" for name in names[1:]), "unit", "better is")
    way = {True: "higher", False: "lower", None: None}
    found = []
    for row in rows:
        said = [str(each) if each else None for each in row.differences]
        value = row.metrics[0].value if row.metrics[0] else None
        found.append((row.title, value, *said, row.known.unit or None, way[row.known.higher_is_better]))
    return Table(columns, found)


def value_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """Every figure with its interval, and what the first report that has it says of chance and ceiling."""

    def said(metric: Metric | None) -> str | None:
        return f"{number(metric.value)} ({spread_of(metric)})".removesuffix(" ()") if metric else None

    found = [(row.key, row.title, *map(said, row.metrics), row.known.chance, row.known.ceiling) for row in rows]
    return Table(("key", "metric", *names, "chance", "ceiling"), found)


def fact_table(reports: Sequence[ReadReport], names: Sequence[str]) -> Table:
    """The facts that differ between the reports."""
    keys = dict.fromkeys(key for report in reports for key in report.facts)
    rows = [(key, *(report.facts.get(key) for report in reports)) for key in keys]
    return Table(("", *names), [row for row in rows if len(set(map(str, row[1:]))) > 1])


def comparison_figure(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    """A strip a metric, each with its own scale: the figures with their intervals, chance and ceiling as ticks."""
    # Imported here: matplotlib takes a second, and reading reports needs none of it.
    from matplotlib.figure import Figure

    from synesthete.evaluation.reporting.figures import COLOURS, to_png

    shown, colours = rows[:MOST_DRAWN], list(itertools.islice(itertools.cycle(COLOURS), len(names)))
    figure = Figure(figsize=(8.0, 0.8 + 0.55 * len(shown)), layout="constrained")
    strips = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, row in zip(strips, shown, strict=True):
        for place, (metric, colour) in enumerate(zip(row.metrics, colours, strict=True)):
            if metric and math.isfinite(metric.value):
                low, high = metric.interval or (metric.value, metric.value)
                spread = [[max(metric.value - low, 0)], [max(high - metric.value, 0)]]
                axes.errorbar(metric.value, -place, xerr=spread, fmt="o", markersize=4, capsize=2, color=colour)
        for value, style in ((row.known.chance, ":"), (row.known.ceiling, "--")):
            if value is not None and math.isfinite(value):
                axes.axvline(value, color="0.6", linestyle=style, linewidth=1)
        axes.set(ylim=(-len(names) + 0.4, 0.6), yticks=[])
        axes.tick_params(labelsize=7)
        axes.set_ylabel(row.title, rotation=0, ha="right", va="center", fontsize=7)
    for name, colour in zip(names, colours, strict=True):
        strips[0].plot([], [], "o", color=colour, label=name)
    figure.legend(fontsize=8, loc="outside upper center", ncols=min(len(names), 4), frameon=False)
    return to_png(figure)


_PICTURE = (
    "A strip a metric, each with its own scale; bars: 95%. Dotted: chance, dashed: the ceiling, of the first report."
)
