"""What the demonstration shows: spectrograms, what is painted of what was said, a picture of each system, the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete import hub
from synesthete.data.picture import contact_sheet, write_picture
from synesthete.data.pictures import DIGITS
from synesthete.evaluation.reporting.figures import spectrogram_figure, to_png
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, provenance, to_html
from synesthete.io import write_file
from synesthete.tasks.model import load, seen_in
from synesthete.tasks.results import Sound
from synesthete.types import InputError

if TYPE_CHECKING:
    from datetime import datetime

    from torch import Tensor

PAINTER = "audio-to-image-digits"  # paints what has been said, where it ships
# What one more model of each kind is asked for, where it ships: its verb, the file, the model, the labels.
OTHERS = (("draw", "drawn", "images-digits", DIGITS), ("play", "played", "music-notes", ("piano",)))
# What to do next, and the command that does it.
NEXT = (
    ("Let a picture of your own speak", "synesthete speak my_digit.png --voice bf_emma"),
    ("Paint what you say", "synesthete paint my_voice.wav --out painted"),
    ("Draw sevens", "synesthete draw --label 7 --num 16"),
    ("Compose a chorale", 'synesthete play music-compose --key "D minor"'),
    ("See what your own files can teach", "synesthete new FOLDER"),
)
SIDE = 224  # pixels of a picture's file


def draw_digits(found: Mapping[str, Any], pictures: Sequence[Image.Image], x_0: Tensor, codec: Any) -> None:
    """The pictures of the digits, and beside each sound, whose x_0 (B, 1, n_mels, T) this is, its spectrogram."""
    for row, picture in zip(found["digits"], pictures, strict=True):
        write_picture(picture_of(row), enlarge(picture, SIDE))
    for row, log_mel in zip([*found["digits"], *found["voices"]], codec.denormalise(x_0), strict=True):
        figure = spectrogram_figure(torch.as_tensor(log_mel), codec.spec, f"a picture of a {row['picture']} says")
        write_file(Path(row["wav"]).with_suffix(".png"), to_png(figure))


def paint_digits(
    rows: Sequence[dict[str, Any]],
    pictures: Sequence[Image.Image],
    spectrograms: list[Image.Image],
    out: Path,
    seed: int,
    device: str,
    notes: list[str],
) -> dict[str, Any]:
    """PAINTER paints what each digit said, where it ships; all of it is demo.png. How many are seen rightly."""
    side, right = spectrograms[0].width, {}
    sheet = [[enlarge(picture, side) for picture in pictures], spectrograms[: len(rows)]]
    if PAINTER in hub.shipped_models():
        try:
            painted = paint_spoken(PAINTER, [Path(row["wav"]) for row in rows], seed, device)
        except InputError as error:  # of a model that learned too little to be heard
            painted = []
            notes.append(f"nothing is painted: {error}")
        for row, (picture, seen) in zip(rows, painted, strict=False):
            path = write_picture(out / f"{row['picture']}_painted.png", enlarge(picture, SIDE))
            row |= {"painted": str(path), "seen": seen}
        if painted:
            right["painted_right"] = sum(row["picture"] == row["seen"] for row in rows) if rows[0]["seen"] else None
            sheet.append([enlarge(picture, side) for picture, _ in painted])
    write_picture(out / "demo.png", contact_sheet(sheet))
    return right


def paint_spoken(model: str, wavs: list[Path], seed: int, device: str) -> list[tuple[Image.Image, str | None]]:
    """What a model paints of each sound, and the class that its classifier sees in it; None without one."""
    loaded = load(model, device)
    pictures = [one.image for one in loaded(wavs, seed=seed)]
    if len(pictures) < len(wavs):
        raise InputError(f"{model}: {len(wavs) - len(pictures)} of {len(wavs)} sounds cannot be heard")
    seen = [one.says for one in seen_in(loaded, pictures)]
    return list(zip_longest(pictures, seen))


def show_systems(model: str, row: Mapping[str, Any], out: Path, seed: int, device: str) -> list[dict[str, str]]:
    """What each kind of system made, `row` of the first: its verb, model, what it was told, and the files."""
    wav = row["wav"]
    spoken = {"verb": "speak", "model": model, "of": f"a picture of {row['picture']}"}
    told = [spoken | {"png": str(Path(wav).with_suffix(".png")), "wav": wav}]
    if "painted" in row:
        told.append({"verb": "paint", "model": PAINTER, "of": Path(wav).name, "png": row["painted"]})
    for verb, name, other, labels in OTHERS:
        if other in hub.shipped_models():
            made, png = load(other, device)(list(labels), seed=seed), out / f"{name}.png"
            told.append({"verb": verb, "model": other, "of": ", ".join(labels), "png": str(png)})
            if isinstance(made[0], Sound):
                made[0].save(png)
                told[-1]["wav"] = str(made[0].save(out / f"{name}.wav"))
            else:
                rows = [[enlarge(one.image, SIDE // 2) for one in made[x : x + 5]] for x in range(0, len(made), 5)]
                write_picture(png, contact_sheet(rows))
    return told


def write_page(found: Mapping[str, Any], out: Path, pipeline: Any, start: datetime) -> Path:
    """index.html: every digit with its sound and what was painted of it, other voices, each system, what to try."""
    digits = [
        card(
            row["picture"],
            [picture_of(row), Path(row["wav"]).with_suffix(".png"), *([row["painted"]] if "painted" in row else [])],
            row["wav"],
            *([f"voice: {row['voice']}"] if "voice" in row else []),
            *([f"heard: {row['heard'] or 'nothing'}"] if row["heard"] is not None else []),
        )
        for row in found["digits"]
    ]
    voices = [card(row["voice"], [Path(row["wav"]).with_suffix(".png")], row["wav"]) for row in found["voices"]]
    systems = [
        card(f"{row['verb']}: {row['of']}", [row["png"]], row.get("wav"), row["model"]) for row in found["systems"]
    ]
    sections = [
        Section(
            "Pictures speak, sounds paint", "A digit, its spoken name, and what was painted of that.", [Gallery(digits)]
        ),
        *([Section("In other voices", "", [Gallery(voices)])] if voices else []),
        Section("A picture of each system", "", [Gallery(systems)]),
        Section("What to try next", "", [Table(("to", "command"), NEXT)]),
    ]
    facts = provenance(pipeline, start, found["systems"][0]["model"])
    summary = "Pictures that speak, sounds that paint, spectrograms that play."
    page = Report("Synesthete", summary, facts, sections=sections)
    path = out / "index.html"
    write_file(path, to_html(page))
    return path


def card(title: str, pictures: Sequence[str | Path], wav: str | None, *lines: str) -> Card:
    """The files of one thing that was made, to see and to hear."""
    media = [Medium(path.stem, path.read_bytes(), path.stem.replace("_", " ")) for path in map(Path, pictures)]
    if wav:
        media.append(Medium(Path(wav).stem, Path(wav).read_bytes(), title, "wav"))
    return Card(title, media, lines)


def picture_of(row: Mapping[str, Any]) -> Path:
    """Where the picture of a digit lies, beside what it says."""
    return Path(row["wav"]).with_name(f"{row['picture']}_picture.png")


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """A square picture of that many pixels, those of the picture being squares."""
    return picture.resize((side, side), Image.Resampling.NEAREST)
