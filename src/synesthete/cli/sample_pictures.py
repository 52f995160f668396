"""`synesthete sample` of a model that makes pictures: a file each, which tells how it was made, and a contact sheet."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synesthete.cli.options import check_unwritten, progress_bar
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image
    from torch import Tensor

    from synesthete.pipeline import Pipeline

NUM = 8  # pictures of each label
BATCH = 32
COLUMNS = 16  # of a contact sheet; a label with more pictures goes on below
SHEET = "contact_sheet.png"
MAX_STEM = 60


class Wish(NamedTuple):
    """What there are to be pictures of.

    stem: of the files. told: the label or the prompt. key: names its draws of noise, so that a label's pictures are
    the same whatever else is wished for. raw: what the conditioner reads, (1, ...).
    """

    stem: str
    told: dict[str, str]
    key: int | str
    raw: Tensor


def paint(
    pipeline: Pipeline,
    model: str,
    labels: Sequence[str],
    prompts: Sequence[str],
    *,
    out: Path,
    num: int,
    seed: int,
    changes: dict[str, Any],
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Write `num` pictures of each label and prompt; the command's last words as values and as text.

    Raises:
        InputError: labels or prompts that the model does not know or read, or files that are there already.
    """
    import torch

    from synesthete import seeding
    from synesthete.data.picture import to_images, write_picture
    from synesthete.evaluation.reporting.sheet import draw_sheet

    wishes = find_wishes(pipeline, model, labels, prompts)
    places = [(wish, i, out / f"{wish.stem}_{i:03d}.png") for wish in wishes for i in range(num)]
    check_unwritten([*(path for _, _, path in places), out / SHEET], overwrite)
    settings = {name: str(value) for name, value in pipeline.sampling_settings(**changes).items()}
    drawn: dict[str, list[Image.Image]] = {wish.stem: [] for wish in wishes}
    started = time.perf_counter()
    with progress_bar() as show:
        for first in range(0, len(places), BATCH):
            batch = places[first : first + BATCH]
            output = pipeline(
                torch.cat([wish.raw for wish, _, _ in batch]),
                generators=[seeding.generator(seed, "sample", wish.key, i) for wish, i, _ in batch],
                **changes,
            )
            for (wish, i, path), picture in zip(batch, to_images(output.signal.cpu()), strict=True):
                how = {**wish.told, "number": str(i), "seed": str(seed), "model": Path(model).name, **settings}
                write_picture(path, picture, how)
                drawn[wish.stem].append(picture)
            show("pictures", min(first + BATCH, len(places)), len(places), "")
    seconds = time.perf_counter() - started
    rows, names = folded(drawn, {wish.stem: next(iter(wish.told.values()), "") for wish in wishes})
    write_picture(out / SHEET, draw_sheet(rows, names))
    values = {
        "written": [str(path) for _, _, path in places],
        "contact_sheet": str(out / SHEET),
        "seconds": round(seconds, 3),
        "pictures_per_second": round(len(places) / seconds, 2),
    }
    each = f", {num} of each label" if len(wishes) > 1 else ""
    text = f"{out}: {len(places)} pictures{each}, {values['pictures_per_second']} a second; all of them: {out / SHEET}"
    return values, text


def find_wishes(pipeline: Pipeline, model: str, labels: Sequence[str], prompts: Sequence[str]) -> list[Wish]:
    """What each label and prompt is to the model; a class asked for twice is there once, by the first of its names.

    Raises:
        InputError: a label or a prompt to a model that reads none, one that it does not know, or neither.
    """
    import torch

    from synesthete.evaluation.sweeping.cells import find_labels

    conditioner, class_names = pipeline.conditioner, pipeline.class_names
    if not pipeline.is_conditional:
        if labels or prompts:
            raise InputError(f"{model}: is told nothing, so it has no labels; leave out --label and --prompt")
        return [Wish("sample", {}, "", torch.zeros(1, dtype=torch.int64))]
    reads_text = conditioner.reads_text
    there = f"0 to {len(class_names) - 1}, {', '.join(class_names[:3])}, ..., or all" if class_names else "none"
    if prompts and not reads_text:
        raise InputError(f"{model}: reads labels, not text; instead of --prompt give --label ({there})")
    if labels and not class_names:
        raise InputError(f"{model}: has no classes; instead of --label give --prompt TEXT")
    if not labels and not prompts:
        also = ", or --prompt TEXT" if reads_text else ""
        raise InputError(f"{model}: say what of, by --label ({there}){also}")
    chosen: dict[int, str] = {}
    for label in labels:
        for number in find_labels([label], class_names):
            chosen.setdefault(number, class_names[number] if label == "all" else label)
    # Class numbers and words of one's own come in one batch as what the encoder says of them.
    look = conditioner.extract_features if reads_text else torch.as_tensor
    wishes = [Wish(name, {"label": class_names[n]}, n, look(torch.tensor([n]))) for n, name in chosen.items()]
    wishes += [Wish(prompt, {"prompt": prompt}, prompt, look([prompt])) for prompt in dict.fromkeys(prompts)]
    return [wish._replace(stem=stem) for wish, stem in zip(wishes, file_safe(w.stem for w in wishes), strict=True)]


def file_safe(names: Iterable[str]) -> list[str]:
    """The names as stems of files, no two alike on any file system."""
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w-]+", "_", name).strip("_")[:MAX_STEM] or "sample"
        stem, again = plain, 2
        while stem.casefold() in taken:
            stem, again = f"{plain}-{again}", again + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def folded(
    drawn: dict[str, list[Image.Image]], titles: dict[str, str], columns: int = COLUMNS
) -> tuple[list[list[Image.Image]], list[str]]:
    """Rows of a contact sheet and the names beside them; only the first row of a label has its name."""
    rows, names = [], []
    for stem, pictures in drawn.items():
        for first in range(0, len(pictures), columns):
            rows.append(pictures[first : first + columns])
            names.append("" if first else titles[stem])
    return rows, names
