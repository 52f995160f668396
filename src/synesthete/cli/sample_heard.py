"""`synesthete sample` of a model that paints what it hears: pictures of each sound, or strips of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.cli.heard_sounds import find_sounds, listen
from synesthete.cli.options import check_unwritten, progress_bar
from synesthete.cli.painting_work import Work, write_told
from synesthete.cli.sample_pictures import SHEET, folded
from synesthete.cli.sample_speech import name_targets
from synesthete.cli.sound_strips import draw_strips
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from synesthete.cli.heard_request import HeardRequest
    from synesthete.cli.heard_sounds import Sounds
    from synesthete.pipeline import Pipeline

NUM = 1  # pictures of each sound
THUMBNAIL = 256  # pixels at most of a picture on a contact sheet


def paint_heard(
    pipeline: Pipeline,
    model: str,
    inputs: Sequence[Path],
    prompt: str | None,
    asked: HeardRequest,
    *,
    out: Path,
    num: int,
    seed: int,
    changes: dict[str, Any],
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Write `num` pictures of each sound, or a strip of `num` rows; the command's last words as values and as text.

    Picture i of every sound begins with the same noise, so what differs between sounds is what was heard.

    Raises:
        InputError: no sounds, none that can be used, a prompt that cannot be read, or files that are there already.
    """
    reader = pipeline.conditioner.text_encoder
    for text in (prompt, asked.negative):  # refused before an hour of listening
        if text is not None:
            reader.tokenise([text])
    given = list(asked.between or inputs)
    if not given:
        raise InputError(f"{model}: paints what it hears; give it sounds, or folders of sounds")
    found = find_sounds(given)
    if asked.between:
        if len(found) != 2:
            raise InputError("--between: give two different sounds, not folders of them")
        targets = [out / f"{found[0].stem}_to_{found[1].stem}.png"] * 2
    else:
        targets = name_targets(found, given, out, ".png", "sounds")
        if asked.strengths:
            targets = [path.with_stem(f"{path.stem}_strengths") for path in targets]
    check_targets(targets, asked, num, out, overwrite)
    told: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
    told |= {**asked.told(), "seed": seed, "model": Path(model).name}
    started = time.perf_counter()
    with progress_bar() as show:
        sounds = listen(pipeline, model, found, targets, prompt, show)
        if asked.between and sounds.skipped:
            raise InputError(sounds.skipped[0])
        work = Work(pipeline, seed, asked.negative, changes, show)
        if asked.between or asked.strengths:
            written = draw_strips(work, sounds, asked, told, num)
        else:
            written = draw_each(work, sounds, told, num, out)
    seconds = time.perf_counter() - started
    values = {
        **written,
        "skipped": sounds.skipped,
        "notes": sounds.notes,
        "seconds": round(seconds, 3),
        "pictures_per_second": round(work.num_drawn / seconds, 2),
    }
    what = "strip" if asked.between or asked.strengths else "picture"
    each = f" of {len(sounds.paths)} sounds" if len(sounds.paths) > 1 and not asked.between else ""
    several = "s" * (len(written["written"]) > 1)
    text = f"{out}: {len(written['written'])} {what}{several}{each}, {values['pictures_per_second']} pictures a second"
    text += "".join(f"; {path}" for path in (written.get("contact_sheet"), *written.get("gifs", ())) if path)
    text += "".join(f"\nnote: {note}" for note in sounds.notes)
    if sounds.skipped:
        text += f"\n{len(sounds.skipped)} skipped:\n  " + "\n  ".join(sounds.skipped)
    return values, text


def numbered(target: Path, num: int) -> list[Path]:
    """The places of `num` pictures of one sound: stem.png, stem_1.png, ..."""
    return [target.with_stem(f"{target.stem}_{i}") if i else target for i in range(num)]


def check_targets(targets: Sequence[Path], asked: HeardRequest, num: int, out: Path, overwrite: bool) -> None:
    """Make sure that no two things would be written to one place, nor anything be replaced unasked.

    Raises:
        InputError: they would be.
    """
    if asked.between:
        places = [targets[0]]
    elif asked.strengths:
        places = list(targets)
    else:
        places = [path for target in targets for path in numbered(target, num)]
        places += [out / SHEET] if len(places) > 1 else []
    taken: set[str] = set()
    for place in places:
        if str(place).casefold() in taken:
            raise InputError(f"{place}: would be written twice; rename one of the sounds")
        taken.add(str(place).casefold())
    suffixes = (".png", ".json", ".gif") if asked.is_gif else (".png", ".json")
    sheet = out / SHEET
    check_unwritten([p.with_suffix(suffix) for p in places for suffix in suffixes if p != sheet], overwrite)
    if sheet in places:
        check_unwritten([sheet], overwrite)


def draw_each(work: Work, sounds: Sounds, told: dict[str, Any], num: int, out: Path) -> dict[str, Any]:
    """`num` pictures of each sound, a file each, and a contact sheet where there are several."""
    from synesthete.data.picture import write_picture
    from synesthete.evaluation.reporting.sheet import draw_sheet

    places = [(k, i) for k in range(len(sounds.paths)) for i in range(num)]
    settings = work.settings()
    files = [numbered(target, num) for target in sounds.targets]
    drawn: dict[str, list[Image.Image]] = {str(target): [] for target in sounds.targets}
    for first in range(0, len(places), work.batch):  # written as they are drawn: what is done is kept
        batch = places[first : first + work.batch]
        rows = [k for k, _ in batch]
        pictures = work.draw(sounds.raw[rows], [i for _, i in batch], first, len(places))
        for (k, i), picture in zip(batch, pictures, strict=True):
            write_told(files[k][i], picture, {"sound": sounds.paths[k].name, "number": i, **told, **settings})
            drawn[str(sounds.targets[k])].append(thumbnail(picture))
    values: dict[str, Any] = {"written": [str(files[k][i]) for k, i in places]}
    if len(places) > 1:
        columns = max(min(16, 1600 // drawn[str(sounds.targets[0])][0].width), 1)
        titles = {str(t): path.stem for t, path in zip(sounds.targets, sounds.paths, strict=True)}
        rows_, names = folded(drawn, titles, columns)
        write_picture(out / SHEET, draw_sheet(rows_, names))
        values["contact_sheet"] = str(out / SHEET)
    return values


def thumbnail(picture: Image.Image) -> Image.Image:
    """The picture, no larger than it needs to be on a sheet."""
    picture = picture.copy()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return picture
