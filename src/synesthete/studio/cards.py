"""What the page shows as HTML: what was made, beside each other, and how far it is. Every text in it is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from synesthete.evaluation.reporting.media import encode_png
from synesthete.evaluation.reporting.report import number

FILES = "/gradio_api/file="  # where the server gives out files of its own folder


def address(path: Path) -> str:
    """Where the page finds a file."""
    return html.escape(FILES + quote(str(path.resolve())))


def draw_card(files: Mapping[str, Path], caption: str) -> str:
    """One thing that was made, by the suffixes of its files: its picture, which seeks in its sound, and its links."""
    name = html.escape(caption)
    shown = files.get(".gif", files.get(".png"))
    picture = f'<img src="{address(shown)}" alt="{name}" loading="lazy">' if shown else ""
    if ".wav" in files:
        seek = 'class="seek" title="Click: go there"'
        picture = f"<div {seek}>{picture}<i></i></div>" if picture else ""
        picture += f'<audio controls preload="metadata" src="{address(files[".wav"])}" aria-label="{name}"></audio>'
    links = " ".join(
        f'<a href="{address(path)}" download="{html.escape(path.name)}">{suffix.strip(".")}</a>'
        for suffix, path in files.items()
    )
    return f'<figure class="card">{picture}<figcaption>{name}<span class="links">{links}</span></figcaption></figure>'


def draw_section(title: str, cards: Sequence[str], notes: Sequence[str] = ()) -> str:
    """What was made at once."""
    said = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    said = f'<ul class="notes">{said}</ul>' if said else ""
    return (
        f'<section class="made"><h2>{html.escape(title)}</h2><div class="cards">{"".join(cards)}</div>{said}</section>'
    )


def draw_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures by name, a row for each of what they are of, whose own name is called ""."""
    names = list(dict.fromkeys(name for row in rows for name in row if name))
    heads = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in names)
    lines = "".join(
        f'<tr><th scope="row">{html.escape(row[""])}</th>'
        + "".join(f"<td>{html.escape(number(row.get(name)))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f'<div class="figures"><table><thead><tr><td></td>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def written_cards(values: Mapping[str, Any], suffixes: Sequence[str]) -> list[str]:
    """A card for each thing that `write_results` wrote."""
    said = list(values["said"]) if len(values["said"]) == len(values["written"]) else [{}] * len(values["written"])
    cards = []
    for first, words in zip(map(Path, values["written"]), said, strict=True):
        files = {suffix: path for suffix in suffixes if (path := first.with_suffix(suffix)).is_file()}
        told = [] if ".wav" in suffixes or not words else [first.stem.replace("_", " ")]
        told += [f"“{words['says']}” ({words['confidence']:.0%} sure)"] if words.get("says") else []
        told += [words["voice"]] if "voice" in words else []
        cards.append(draw_card(files, ", ".join(told) or first.stem.replace("_", " ")))
    return cards


def draw_marked(picture: Image.Image, length: float, unit: str, field: str, label: str) -> str:
    """A picture of `length` "s" or "bars"; a stretch marked in it becomes the text of the element `field`."""
    name = html.escape(f"{label}: drag over the picture, or write them above; the picture shows {length:.3g} {unit}")
    return (
        f'<div class="mark" data-field="{html.escape(field)}" data-length="{length}" data-unit="{unit}" title="{name}">'
        f'<img src="{embed(picture)}" alt="{name}" draggable="false"><i></i></div>'
    )


def draw_status(work: Any) -> str:
    """How far a `Work` is, as people and screen readers take it, and what it looks like by now."""
    left = work.seconds_left
    told = f"step {work.step} of {work.num_steps}" if work.num_steps else work.what
    if work.total > 1 and not work.what.endswith("steps"):
        told += f"; {work.done} of {work.total} {work.what}"
    told += f"; {left:.0f} s left" if left is not None and left >= 1 else ""
    pictures = "".join(f'<img src="{embed(one)}" alt="as it is by now">' for one in work.pictures)
    bar = f'<progress max="1" value="{work.share:.3f}" aria-label="how far it is"></progress>'
    return f'<div class="status" role="status">{bar}<p>{html.escape(told)}</p><div class="live">{pictures}</div></div>'


def draw_message(text: str, kind: str = "") -> str:
    """One line. kind: "error" or nothing."""
    role = "alert" if kind else "status"
    return f'<div class="status {kind}" role="{role}"><p>{html.escape(text)}</p></div>'


def embed(picture: Image.Image) -> str:
    """A picture as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}"
