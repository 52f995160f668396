"""A report as a folder: `report.md`, `report.html` (one file, pictures and sounds inside) and `report.json`."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synesthete.evaluation.metrics.metric import Metric

MISSING = "-"  # in place of a figure that there is not
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


def number(value: Any) -> str:
    """A figure as it is printed: whole numbers whole, others to thousandths, below 0.01 three digits that count."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or math.isinf(value):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"


def headline(metrics: Sequence[Metric]) -> Table:
    """The metrics as one table."""
    rows = [
        (
            metric.title,
            metric.value,
            f"{number(metric.interval[0])} to {number(metric.interval[1])}" if metric.interval else None,
            metric.chance,
            metric.shuffled,
            metric.ceiling,
        )
        for metric in metrics
    ]
    return Table(("metric", "value", "95% interval", "chance", "shuffled", "ceiling"), rows)


def check_place(folder: Path) -> None:
    """Make sure that a report may go there.

    Raises:
        InputError: a file, or a folder that holds something else than a report.
    """
    if folder.exists() and not (folder / "report.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something that is no report; choose another folder")


def notes_section(notes: Sequence[str]) -> list[Section]:
    """What a reader has to know, a row each; nothing where there is nothing to say."""
    return [Section("Notes", "", [Table(("note",), [(note,) for note in notes])])] if notes else []


def write_report(report: Report, folder: Path) -> Path:
    """Write the report; returns report.html. An older one in `folder` stays until this one is whole.

    Raises:
        InputError: a full disk, a folder that cannot be written, or one that holds something else.
    """
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    check_place(folder)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for medium in media(report):
            path = partial / place(medium)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(medium.content)
        (partial / "report.md").write_text(to_markdown(report), encoding="utf-8")
        (partial / "report.html").write_text(to_html(report), encoding="utf-8")
        (partial / "report.json").write_text(to_json(report), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be written ({reason}); free some space or choose another folder") from None
    return folder / "report.html"


def media(report: Report) -> list[Medium]:
    """Every picture and sound, in order."""
    items = [item for section in report.sections for item in section.items]
    galleries = [item for item in items if isinstance(item, Gallery)]
    alone = [item for item in items if isinstance(item, Medium)]
    return alone + [medium for gallery in galleries for card in gallery.cards for medium in card.media]


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
    lines = [f"# {report.title}", "", report.summary, ""]
    lines += [*_markdown_table(Table(("", ""), list(report.facts.items()))), ""]
    if report.metrics:
        lines += ["## Figures", "", *_markdown_table(headline(report.metrics)), ""]
    for section in report.sections:
        lines += [f"## {section.title}", "", *([section.text, ""] if section.text else [])]
        for item in section.items:
            lines += [*_markdown_item(item), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _markdown_item(item: Table | Medium | Gallery) -> list[str]:
    if isinstance(item, Table):
        return [*([f"**{item.caption}**", ""] if item.caption else []), *_markdown_table(item)]
    if isinstance(item, Medium):
        return [f"{'' if item.kind == 'wav' else '!'}[{item.caption or item.name}]({place(item)})"]
    rows = [
        (card.title, " ".join(line for medium in card.media for line in _markdown_item(medium)), "; ".join(card.lines))
        for card in item.cards
    ]
    return _markdown_table(Table(("", "", ""), rows))


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(number(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(table.columns), "|" + " --- |" * len(table.columns), *(line(row) for row in table.rows)]


def to_html(report: Report) -> str:
    """The report as one HTML page that needs no other file and runs no script."""
    parts = [f"<h1>{_escape(report.title)}</h1>", f"<p class=summary>{_escape(report.summary)}</p>"]
    if report.metrics:
        parts += ["<h2>Figures</h2>", _html_table(headline(report.metrics))]
    for section in report.sections:
        parts += [f"<h2>{_escape(section.title)}</h2>"]
        parts += [f"<p>{_escape(section.text)}</p>"] if section.text else []
        parts += [_html_item(item) for item in section.items]
    parts += ["<h2>How this was made</h2>", _html_table(Table(("", ""), list(report.facts.items())))]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\n{STYLE}'
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{_escape(report.title)}</title></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _html_item(item: Table | Medium | Gallery) -> str:
    if isinstance(item, Table):
        return _html_table(item)
    if isinstance(item, Medium):
        return _html_medium(item)
    cards = "".join(_html_card(card) for card in item.cards)
    if item.columns is None:
        return f'<div class="gallery">{cards}</div>'
    # Wider than a telephone: the row is to be compared as one, so it scrolls.
    style = f"grid-template-columns: repeat({item.columns}, minmax(10rem, 1fr))"
    return f'<div class="scroll"><div class="gallery" style="{style}">{cards}</div></div>'


def _html_card(card: Card) -> str:
    lines = "".join(f"<p>{_escape(line)}</p>" for line in card.lines)
    return f'<div class="card"><h3>{_escape(card.title)}</h3>{"".join(map(_html_medium, card.media))}{lines}</div>'


def _html_medium(medium: Medium) -> str:
    source = f"data:{MEDIA[medium.kind][1]};base64,{base64.b64encode(medium.content).decode()}"
    caption = _escape(medium.caption)
    if medium.kind == "wav":
        return f'<audio controls preload="none" src="{source}" aria-label="{caption}"></audio>'
    pixelated = ' class="pixelated"' if medium.pixelated else ""
    below = f"<figcaption>{caption}</figcaption>" if caption and not medium.pixelated else ""
    return f'<figure><img{pixelated} alt="{caption}" src="{source}">{below}</figure>'


def _html_table(table: Table) -> str:
    def cell(tag: str, value: Any) -> str:
        numeric = isinstance(value, int | float) or value is None
        return f"<{tag}{' class=number' if numeric else ''}>{_escape(number(value))}</{tag}>"

    head = "".join(f"<th>{_escape(str(name))}</th>" for name in table.columns) if any(table.columns) else ""
    rows = "".join(f"<tr>{''.join(cell('td', value) for value in row)}</tr>\n" for row in table.rows)
    caption = f"<caption>{_escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


STYLE = """<style>
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1b1f24; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d8dde3; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.summary { color: #4a5561; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .88rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { text-align: left; padding: .28rem .8rem .28rem 0; border-bottom: 1px solid #e6e9ed; vertical-align: top; }
th { color: #4a5561; font-weight: 600; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: .4rem 0; }
img { max-width: 100%; height: auto; }
img.pixelated { image-rendering: pixelated; width: 84px; height: 84px; object-fit: contain; background: #000; }
figcaption { font-size: .82rem; color: #4a5561; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .9rem; }
.card { border: 1px solid #d8dde3; border-radius: 6px; padding: .7rem; break-inside: avoid; }
.card p { font-size: .85rem; margin: .15rem 0; }
audio { width: 100%; height: 36px; }
@media print { body { font-size: 11px; } main { max-width: none; padding: 0; } audio { display: none; }
  h2 { break-after: avoid; } figure, table { break-inside: avoid; }
  .gallery { grid-template-columns: repeat(3, 1fr); } }
</style>
"""
