"""A report as a folder: `report.md`, `report.html` (one file, pictures and sounds inside) and `report.json`."""

from __future__ import annotations

import base64
import html
import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from synesthete.evaluation.metrics.metric import Metric, by_key
from synesthete.io import tab_separated, write_file, write_folder
from synesthete.logs import visible
from synesthete.types import InputError

__all__ = ["Report", "Section", "write_report"]

MISSING = "-"  # in place of a figure that there is not
SECTIONS = dict(tab_separated(Path(__file__).with_name("sections.tsv")))  # what each says, by a name of its own
MEDIA = {"png": ("pictures", "image/png"), "gif": ("pictures", "image/gif"), "wav": ("sounds", "audio/wav")}


@dataclass(frozen=True)
class Table:
    """Rows under column names; numbers are formatted when written."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Medium:
    """A picture (png, gif) or a sound (wav): its name, without suffix, its content, and what it shows, in words."""

    name: str
    content: bytes
    caption: str = ""
    kind: str = "png"
    pixelated: bool = False


@dataclass(frozen=True)
class Card:
    """What belongs together: pictures and sounds under a title, and lines of text."""

    title: str
    media: Sequence[Medium]
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Cards side by side. columns: in every row; as many as there is room for where None."""

    cards: Sequence[Card]
    columns: int | None = None


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what follows it."""

    title: str
    text: str = ""
    items: Sequence[Table | Medium | Gallery] = ()


@dataclass
class Report:
    """Everything that a report says. facts: what was measured, when, how. data: further figures, for report.json."""

    title: str
    summary: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def metric(self, key: str) -> Metric:
        """The metric of that key."""
        return by_key(self.metrics, key)


def number(value: Any) -> str:
    """A figure as it is printed: whole numbers whole, others to thousandths, below 0.01 three digits that count."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if not isinstance(value, float) or math.isinf(value):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time as people say it."""
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def spread_of(metric: Metric) -> str:
    """A metric's interval in words; empty where it has none."""
    return f"{number(metric.interval[0])} to {number(metric.interval[1])}" if metric.interval else ""


def headline(metrics: Sequence[Metric]) -> Table:
    """The metrics as one table."""
    rows = [(m.title, m.value, spread_of(m) or None, m.chance, m.shuffled, m.ceiling) for m in metrics]
    return Table(("metric", "value", "95% interval", "chance", "shuffled", "ceiling"), rows)


def figures_text(report: Report) -> str:
    """The metrics as a table under when, on what and how they were measured, in Markdown, for a model's card."""
    told = ", ".join(str(report.facts[key]) for key in ("made on", "device", "software") if key in report.facts)
    said = [_escaped(f"{told}. {report.facts.get('sampling', '')}".strip()), ""]
    return "\n".join([*said, *markdown_table(headline(report.metrics))])


def check_place(folder: Path) -> None:
    """Make sure that a report may go there."""
    if folder.exists() and not (folder / "report.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something that is no report; choose another folder")


def notes_section(notes: Sequence[str]) -> list[Section]:
    """What a reader has to know, a row each; nothing where there is nothing to say."""
    return [Section("Notes", "", [Table(("note",), [(note,) for note in notes])])] if notes else []


def write_report(report: Report, folder: Path, more: Callable[[Path], None] | None = None) -> Path:
    """Write the report; returns report.html. An older one in `folder` stays until this one is whole, with `more` in it.

    Raises:
        InputError: two metrics of one key, a full disk, a folder that cannot be written or holds something else.
    """
    check_place(folder)
    keys = [metric.key for metric in report.metrics if metric.key]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InputError(f"{folder}: two metrics with the key {', '.join(twice)}; give each a variant of its own")

    def fill(partial: Path) -> None:
        for medium in media(report):
            write_file(partial / place(medium), medium.content)
        write_file(partial / "report.md", to_markdown(report))
        write_file(partial / "report.html", to_html(report))
        write_file(partial / "report.json", to_json(report))
        if more:
            more(partial)

    write_folder(folder, fill)
    return folder / "report.html"


def media(report: Report) -> list[Medium]:
    """Every picture and sound, in order."""
    items = [item for section in report.sections for item in section.items]
    cards = [card for item in items if isinstance(item, Gallery) for card in item.cards]
    return [item for item in items if isinstance(item, Medium)] + [medium for card in cards for medium in card.media]


def place(medium: Medium) -> str:
    """Where a picture or sound lies in the report's folder."""
    return f"{MEDIA[medium.kind][0]}/{re.sub(r'[^A-Za-z0-9_-]+', '-', medium.name)}.{medium.kind}"


def to_json(report: Report) -> str:
    """Facts, metrics, tables and data; figures that are not finite become null."""
    tables = {
        f"{section.title}{f' ({item.caption})' if item.caption else ''}": [
            dict(zip(item.columns, row, strict=True)) for row in item.rows
        ]
        for section in report.sections
        for item in section.items
        if isinstance(item, Table)
    }
    metrics = [vars(metric) for metric in report.metrics]
    content = {"title": report.title, "facts": report.facts, "metrics": metrics, "tables": tables, **report.data}
    return json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n"


def finite(value: Any) -> Any:
    """Plain values as JSON has them: a figure that is not finite becomes None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def to_markdown(report: Report) -> str:
    """The report as Markdown; pictures and sounds are files beside it."""
    lines = [f"# {_heading(report.title)}", "", _escaped(report.summary), ""]
    lines += [*markdown_table(Table(("", ""), list(report.facts.items()))), ""]
    if report.metrics:
        lines += ["## Figures", "", *markdown_table(headline(report.metrics)), ""]
    for section in report.sections:
        lines += [f"## {_heading(section.title)}", "", *([_escaped(section.text), ""] if section.text else [])]
        for item in section.items:
            lines += [*_markdown_item(item), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _markdown_item(item: Table | Medium | Gallery) -> list[str]:
    if isinstance(item, Table):
        return [*([f"**{_escaped(item.caption)}**", ""] if item.caption else []), *markdown_table(item)]
    if isinstance(item, Medium):
        return [_markdown_medium(item)]
    rows = [(card.title, " ".join(map(_markdown_medium, card.media)), "; ".join(card.lines)) for card in item.cards]
    return markdown_table(Table(("", "", ""), rows), links=1)


def _markdown_medium(medium: Medium) -> str:
    text = _escaped(medium.caption or medium.name)
    return f"{'' if medium.kind == 'wav' else '!'}[{text}]({place(medium)})"


def markdown_table(table: Table, links: int | None = None) -> list[str]:
    """The table, a line each; the column `links` is Markdown already."""

    def line(cells: Sequence[Any]) -> str:
        said = [number(cell) if i == links else _escaped(number(cell)) for i, cell in enumerate(cells)]
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in said) + " |"

    return [line(table.columns), "|" + " --- |" * len(table.columns), *(line(row) for row in table.rows)]


def _heading(text: str) -> str:
    return " ".join(_escaped(text).split())


def _escaped(text: str) -> str:
    """The text with what Markdown would take for HTML, a link, a picture or a heading written out, and escapes."""
    return re.sub(r"([\\\[\]]|^ *#)", r"\\\1", html.escape(visible(text), quote=False), flags=re.MULTILINE)


def to_html(report: Report) -> str:
    """The report as one HTML page that needs no other file and runs no script."""
    # Jinja is loaded where a page is written: nobody else waits for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": number, "kind": lambda item: type(item).__name__}
    environment.tests["figure"] = lambda value: value is None or isinstance(value, int | float)
    facts = Table(("", ""), list(report.facts.items()))
    page = environment.get_template("report.html.jinja")

    def source(medium: Medium) -> str:
        return f"data:{MEDIA[medium.kind][1]};base64,{base64.b64encode(medium.content).decode()}"

    return page.render(report=report, figures=headline(report.metrics), facts=facts, source=source)


def provenance(pipeline: Any, start: datetime, model: str = "", command: str | None = None) -> dict[str, Any]:
    """The facts that every report on a model begins with; command: the command line of this process where None."""
    return {
        "model": model or pipeline.config.card.get("recipe", ""),
        "recipe": pipeline.config.card.get("recipe", ""),
        "made on": start.strftime("%Y-%m-%d %H:%M UTC"),
        "took": f"{(datetime.now(UTC) - start).total_seconds():.0f} s",
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "device": device_name(pipeline.device),
        "software": f"torch {torch.__version__}, Python {platform.python_version()}",
        "sampling": ", ".join(f"{key} {value}" for key, value in pipeline.sampling_settings().items()),
        "process": ", ".join(f"{key} {value}" for key, value in pipeline.process.settings().items()),
    }


def device_name(device: torch.device) -> str:
    """The processor as a reader would call it, and how many threads it is used with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
